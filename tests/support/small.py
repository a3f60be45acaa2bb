"""Small models for tests of a repository: `y = factor * x` on FP32 [N, 2], and a text model over a tiny encoder."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

VOCABULARY = {"[UNK]": 0, "a": 1, "b": 2, "c": 3}


def scale_model(factor: float, *, rows: str | int = "batch") -> onnx.ModelProto:
    """`y = factor * x`; `rows` is the first dimension, a name for a free one."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        "scale",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, 2])],
        initializer=[numpy_helper.from_array(np.array(factor, np.float32), "factor")],
    )
    return as_model(graph)


def shift_model(*, ir_version: int = 9) -> onnx.ModelProto:
    """`y = x + by` on vectors, in which `by`, of one element, has a default: 10.

    Below version 4 of the format a default can't be overridden.
    """
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "by"], ["y"])],
        "shift",
        [helper.make_tensor_value_info(name, kind, [size]) for name, size in (("x", "n"), ("by", 1))],
        [helper.make_tensor_value_info("y", kind, ["n"])],
        initializer=[numpy_helper.from_array(np.array([10], np.float32), "by")],
    )
    model = as_model(graph)
    model.ir_version = ir_version
    return model


def encoder_model(factor: float = 1.0) -> onnx.ModelProto:
    """`embedding` FP32 [N, 1] is `factor` times the sum of the attended `input_ids`, INT64 [N, L]."""
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["input_ids", "attention_mask"], ["attended"]),
            helper.make_node("ReduceSum", ["attended", "axes"], ["sum"], keepdims=1),
            helper.make_node("Cast", ["sum"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["number", "factor"], ["embedding"]),
        ],
        "encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 1])],
        initializer=[
            numpy_helper.from_array(np.array([1], np.int64), "axes"),
            numpy_helper.from_array(np.array(factor, np.float32), "factor"),
        ],
    )
    return as_model(graph)


def as_model(graph: onnx.GraphProto) -> onnx.ModelProto:
    """A checked model of the graph."""
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, producer_name="headrace-tests", ir_version=9)
    onnx.checker.check_model(model)
    return model


def write_scale(
    repository: Path, name: str = "scale", factor: float = 2.0, *, version: str = "1", config: str = ""
) -> Path:
    """Lays the model into a repository, as one version; returns its folder."""
    return write_onnx(repository, name, scale_model(factor), version=version, config=config)


def write_onnx(
    repository: Path, name: str, model: onnx.ModelProto, *, version: str = "1", config: str = ""
) -> Path:
    """Lays any model into a repository; without `config` there is no config.pbtxt."""
    folder = repository / name
    (folder / version).mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / version / "model.onnx")
    if config:
        (folder / "config.pbtxt").write_text(config)
    return folder


def write_tokenizer(repository: Path, name: str = "words") -> None:
    """Lays a tokenizer into a repository; words are `VOCABULARY`'s."""
    (repository / name / "1").mkdir(parents=True)
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(repository / name / "1" / "tokenizer.json"))
    (repository / name / "config.pbtxt").write_text(
        'backend: "headrace_tokenizer" max_batch_size: 8 '
        'input { name: "text" data_type: TYPE_STRING } '
        'output { name: "input_ids" data_type: TYPE_INT64 dims: -1 } '
        'output { name: "attention_mask" data_type: TYPE_INT64 dims: -1 } '
    )


def ensemble(*steps: str, inputs: str, outputs: str, more: str = "max_batch_size: 8") -> str:
    """The config.pbtxt of an ensemble of these steps."""
    whole = " ".join(f"step {{ {step} }}" for step in steps)
    return f'platform: "ensemble" {more} {inputs} {outputs} ensemble_scheduling {{ {whole} }}'


def step(model: str, inputs: dict[str, str], outputs: dict[str, str], version: int = -1) -> str:
    """One step of `ensemble`."""
    maps = [
        f'{field} {{ key: "{key}" value: "{tensor}" }}'
        for field, mapped in (("input_map", inputs), ("output_map", outputs))
        for key, tensor in mapped.items()
    ]
    return f'model_name: "{model}" model_version: {version} {" ".join(maps)}'


def write_ensemble(repository: Path, name: str, config: str) -> None:
    """Lays an ensemble into a repository: a configuration and an empty version."""
    (repository / name / "1").mkdir(parents=True, exist_ok=True)
    (repository / name / "config.pbtxt").write_text(config)


def write_text(repository: Path, name: str = "text", *, encoder: str = "encoder") -> None:
    """Lays an ensemble on text into a repository: `words`, a tokenizer, and an encoder, which pads."""
    write_tokenizer(repository)
    write_encoder(repository, encoder)
    tokens = {"input_ids": "ids", "attention_mask": "mask"}
    write_ensemble(
        repository,
        name,
        ensemble(
            step("words", {"text": "text"}, tokens),
            step(encoder, tokens, {"embedding": "embedding"}),
            inputs='input { name: "text" data_type: TYPE_STRING }',
            outputs='output { name: "embedding" data_type: TYPE_FP32 dims: 1 }',
        ),
    )


def write_encoder(repository: Path, name: str = "encoder", factor: float = 1.0) -> None:
    """Lays `encoder_model` into a repository, its inputs padded by its queue."""
    parameters = {
        "headrace_ragged.input_ids": "0",
        "headrace_ragged.attention_mask": "0",
        "headrace_mask": "attention_mask",
    }
    said = " ".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'
        for key, value in parameters.items()
    )
    write_onnx(
        repository,
        name,
        encoder_model(factor),
        config=f"max_batch_size: 8 {said} "
        'input { name: "input_ids" data_type: TYPE_INT64 dims: -1 } '
        'input { name: "attention_mask" data_type: TYPE_INT64 dims: -1 } '
        'output { name: "embedding" data_type: TYPE_FP32 dims: 1 }',
    )
