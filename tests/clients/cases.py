"""What every client is asked to infer, and what has to come back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.support.requests import Linear, distinct_rows

TEXTS = ["a cat sat on the mat", "a cat sat upon a mat", "quarterly revenue rose by three percent"]
# What [CLS] hello world [SEP] is in BERT's uncased vocabulary.
TOKENS = [[101, 7592, 2088, 102]]
# 2048 tokens, 256 standing for "nothing here": magika pads so.
NOTHING = [[256] * 2048]
ROWS = distinct_rows(3, seed=11)
UNKNOWN = "no-such-model"

TRITON = "tritonclient[grpc,http]==2.73.0"
"""Triton's clients, in one environment."""

Case = Mapping[str, Any]


def cases() -> list[Case]:
    """One request for each demo model, and one for a model that does not exist."""
    return [
        _case("linear", x=("FP32", ROWS.tolist())),
        _case("linear-cached", x=("FP32", ROWS.tolist())),
        _case("minilm", text=("BYTES", TEXTS)),
        _case("minilm-encoder", input_ids=("INT64", TOKENS), attention_mask=("INT64", [[1, 1, 1, 1]])),
        _case("minilm-tokenizer", text=("BYTES", ["hello world"])),
        _case("magika", bytes=("INT32", NOTHING)),
        {**_case(UNKNOWN, x=("FP32", ROWS.tolist())), "known": False},
    ]


def check_answers(answers: Sequence[Mapping[str, Any]], linear: Linear) -> None:
    """Each known model's answer is right in its numbers; the unknown one's names the model."""
    by_model = {case["model"]: answer for case, answer in zip(cases(), answers, strict=True)}
    unknown = by_model.pop(UNKNOWN)
    assert UNKNOWN in unknown["error"], unknown
    for model, answer in by_model.items():
        assert "error" not in answer, (model, answer)
        assert answer["id"] == model
    for model in ("linear", "linear-cached"):
        np.testing.assert_allclose(by_model[model]["outputs"]["y"], linear(ROWS), rtol=1e-5, atol=1e-6)
    _check_embeddings(np.array(by_model["minilm"]["outputs"]["embedding"]))
    (encoded,) = by_model["minilm-encoder"]["outputs"].values()
    assert np.shape(encoded)[0] == 1
    assert np.isfinite(encoded).all()
    assert by_model["minilm-tokenizer"]["outputs"]["input_ids"] == TOKENS
    assert by_model["minilm-tokenizer"]["outputs"]["attention_mask"] == [[1, 1, 1, 1]]
    (scores,) = by_model["magika"]["outputs"].values()
    np.testing.assert_allclose(np.sum(scores, axis=-1), 1.0, rtol=1e-3)


def _check_embeddings(embeddings: np.ndarray[Any, Any]) -> None:
    assert embeddings.shape == (3, 384)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    alike, unlike = unit[0] @ unit[1], unit[0] @ unit[2]
    assert alike > 0.8 > 0.3 > unlike, (alike, unlike)


def _case(model: str, **inputs: tuple[str, Any]) -> dict[str, Any]:
    tensors = {name: {"datatype": datatype, "data": data} for name, (datatype, data) in inputs.items()}
    return {"model": model, "inputs": tensors}
