"""OpenAI's bodies as requests of a model, and answers as OpenAI's bodies."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.inference.control import ModelControl
from headrace.inference.embeddings import MAX_INPUTS, Wanted, described, tokens_of, wanted, written
from headrace.inference.models import Models
from headrace.inference.v2.grpc_service_pb2 import ModelInferResponse
from headrace.runtime.errors import HeadraceError
from tests.support.small import write_text
from tests.unit.inference.test_control import controlled


@pytest.fixture
async def models(tmp_path: Path) -> AsyncIterator[Models]:
    """`text`, which makes embeddings of one number, and `encoder` behind it; batches of 8."""
    write_text(tmp_path)
    config = tmp_path / "text" / "config.pbtxt"
    config.write_text(
        config.read_text() + 'parameters { key: "headrace_embeddings" value { string_value: "true" } }'
    )
    async with controlled(tmp_path) as control:
        await loaded(control)
        yield control.models


async def loaded(control: ModelControl) -> None:
    await control.load("encoder")
    await control.load("text")


def ask(models: Models, **fields: Any) -> Wanted:
    return wanted(json.dumps({"model": "text", **fields}).encode(), models)


def answer(rows: list[float]) -> bytes:
    raw = np.array(rows, np.float32).tobytes()
    response = ModelInferResponse(raw_output_contents=[raw])
    response.outputs.add(name="embedding", datatype="FP32", shape=[len(rows), 1])
    return response.SerializeToString()


async def test_texts_go_to_the_model_in_batches_of_its_size(models: Models) -> None:
    """In their order; a single text is a list of one."""
    asked = ask(models, input=[f"text {number}" for number in range(20)])
    assert [request.inputs[0].shape[0] for request in asked.requests] == [8, 8, 4]
    assert {request.model_name for request in asked.requests} == {"text"}
    assert b"text 8" in asked.requests[1].raw_input_contents[0]
    (single,) = ask(models, input="a b").requests
    assert list(single.inputs[0].shape) == [1]


async def test_tokens_go_to_the_encoder_padded_and_masked(models: Models) -> None:
    """An answer does not depend on how long its neighbours are: what is padding is not attended."""
    asked = ask(models, input=[[1, 2, 3], [4]])
    (request,) = asked.requests
    assert (request.model_name, asked.tokens) == ("encoder", 4)
    ids, mask = (np.frombuffer(raw, np.int64).reshape(2, 3) for raw in request.raw_input_contents)
    assert ids.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


async def test_tokens_of_texts_are_the_models_own(models: Models) -> None:
    """What usage tells."""
    assert tokens_of(models.find("text", ""), ["a b c", "a"]) == 4


async def test_rows_are_numbered_over_all_answers(models: Models) -> None:
    """As floats, or as base64 of the same bytes."""
    answers = [answer([1.0, 2.0]), answer([3.0])]
    plain = json.loads(written(ask(models, input=["a"] * 3), answers, 5))
    assert [(row["index"], row["embedding"]) for row in plain["data"]] == [(0, [1.0]), (1, [2.0]), (2, [3.0])]
    assert plain["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    coded = json.loads(written(ask(models, input="a", encoding_format="base64"), answers, 5))
    raw = b"".join(base64.b64decode(row["embedding"]) for row in coded["data"])
    assert np.frombuffer(raw, "<f4").tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "input"),
        ({"input": ""}, "input[0]"),
        ({"input": ["a", [1]]}, "input[1]"),
        ({"input": [[1], "a"]}, "input[1]"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": [True]}, "input[0]"),
        ({"input": [-1]}, "input[0]"),
        ({"input": [[1], [2**63]]}, "input[1]"),
        ({"input": "a" * 65_537}, "input[0]"),
        ({"input": "a", "dimensions": 2}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "inputs": "b"}, "body"),
        ({"input": "a", "user": 5}, "body"),
    ],
)
async def test_every_mistake_names_its_place(models: Models, fields: dict[str, Any], field: str) -> None:
    """Before anything is executed: the last of two thousand texts as well as the first."""
    with pytest.raises(HeadraceError) as error:
        ask(models, **fields)
    assert (error.value.reason, error.value.metadata["field"]) == ("BODY_INVALID", field)


async def test_only_a_model_that_says_so_makes_embeddings(models: Models) -> None:
    """The encoder behind it does not, and a model that is not there neither."""
    for name in ("encoder", "absent"):
        with pytest.raises(HeadraceError, match=f"no model '{name}'"):
            ask(models, model=name, input="a")
    told = described(models.find("text", ""))
    assert (told["id"], told["object"], told["owned_by"]) == ("text", "model", "headrace")
