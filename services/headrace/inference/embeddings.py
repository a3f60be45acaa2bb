"""OpenAI's embeddings over models of the repository: what a body asks for, as requests, and their answers as a body.

A model makes embeddings when its configuration says so (`EMBEDDINGS`). Texts
go to it; arrays of tokens go as they are to the step of it that takes tokens,
padded and masked. Every mistake is found before anything is executed.
"""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from headrace.inference.backends.tokenizer import IDS, MASK, TokenizerBackend
from headrace.inference.config import EMBEDDINGS
from headrace.inference.core.tensors import Signature, join_strings
from headrace.inference.errors import body_invalid, model_not_found
from headrace.inference.models import Model, Models
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse

MAX_INPUTS = 2048
"""Of one body, as OpenAI has it."""

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """OpenAI's request; `user` says nothing to us."""

    model: str
    input: Any
    encoding_format: str = "float"
    dimensions: int | None = None
    user: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a body asks for: the requests that answer it, in order, and how their rows are written."""

    model: str
    requests: list[ModelInferRequest]
    texts: list[str]
    tokens: int
    encoding: str


def makes_embeddings(model: Model) -> bool:
    """Whether the model says so."""
    return EMBEDDINGS in model.config.parameters


def wanted(data: bytes, models: Models) -> Wanted:
    """The body as requests; raises BODY_INVALID, MODEL_NOT_FOUND, MODEL_NOT_READY."""
    try:
        body = msgspec.json.decode(data, type=Body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise body_invalid("body", str(error)) from None
    model = models.find(body.model, "")
    if not makes_embeddings(model):
        raise model_not_found(body.model)
    if body.encoding_format not in ("float", "base64"):
        raise body_invalid("encoding_format", "expected 'float' or 'base64'")
    size = model.backend.signature.outputs[0].dims[0]
    if body.dimensions is not None and body.dimensions != size:
        raise body_invalid("dimensions", f"expected {size}, which the model makes, got {body.dimensions}")
    given = _inputs(body.input)
    if isinstance(given[0], str):
        return Wanted(body.model, list(_of_texts(model, given)), given, 0, body.encoding_format)
    requests = list(_of_tokens(_encoder(model), given))
    return Wanted(body.model, requests, [], sum(map(len, given)), body.encoding_format)


def tokens_of(model: Model, texts: list[str]) -> int:
    """How many tokens the model makes of the texts. Takes time: not for the event loop."""
    backends = (one.backend for one in (model, *model.steps))
    return next((one.count(texts) for one in backends if isinstance(one, TokenizerBackend)), 0)


def written(asked: Wanted, answers: list[bytes], tokens: int) -> bytes:
    """OpenAI's answer."""
    rows: list[Floats] = [row for answer in answers for row in _rows(answer)]
    base64 = asked.encoding == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": b64encode(row.tobytes()).decode() if base64 else row.tolist(),
        }
        for index, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": asked.model, "usage": usage})


def described(model: Model) -> dict[str, object]:
    """OpenAI's form of a model."""
    return {"id": model.name, "object": "model", "created": model.loaded_s, "owned_by": "headrace"}


def _inputs(given: Any) -> list[Any]:
    """The inputs as a list of texts, or of arrays of tokens; never a mixture."""
    inputs = [given] if isinstance(given, str) or _is_tokens(given) else given
    if not isinstance(inputs, list) or not 1 <= len(inputs) <= MAX_INPUTS:
        raise body_invalid(
            "input", f"expected a text, an array of tokens, or a list of 1 to {MAX_INPUTS} of one of them"
        )
    texts = isinstance(inputs[0], str)
    for index, one in enumerate(inputs):
        if not one or not (isinstance(one, str) if texts else _is_tokens(one)):
            kind = "a text that is not empty" if texts else "an array of whole numbers, at least one"
            raise body_invalid(f"input[{index}]", f"expected {kind}")
    return inputs


def _is_tokens(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and set(map(type, given)) == {int}


def _of_texts(model: Model, texts: list[str]) -> Iterator[ModelInferRequest]:
    signature = model.backend.signature
    encoded = [text.encode() for text in texts]
    for index, text in enumerate(encoded):
        problem = model.backend.problem([[text]])
        if problem:
            raise body_invalid(f"input[{index}]", problem)
    for some in _chunks(signature, encoded):
        request = ModelInferRequest(model_name=model.name, raw_input_contents=[join_strings(some)])
        request.inputs.add(name=signature.inputs[0].name, datatype="BYTES", shape=[len(some)])
        request.outputs.add(name=signature.outputs[0].name)
        yield request


def _encoder(model: Model) -> Model:
    """The step that takes tokens."""
    for step in model.steps:
        if {spec.name for spec in step.backend.signature.inputs} == {IDS, MASK}:
            return step
    raise body_invalid("input", f"expected texts: model {model.name!r} takes no tokens")


def _of_tokens(encoder: Model, arrays: list[list[int]]) -> Iterator[ModelInferRequest]:
    signature = encoder.backend.signature
    ids = next(spec for spec in signature.inputs if spec.name == IDS)
    low, high = ids.within or (0, 2**63 - 1)
    for index, array in enumerate(arrays):
        if len(array) > ids.longest:
            raise body_invalid(f"input[{index}]", f"expected at most {ids.longest} tokens, got {len(array)}")
        if not low <= min(array) <= max(array) <= high:
            raise body_invalid(f"input[{index}]", f"expected tokens from {low} to {high}")
    for some in _chunks(signature, arrays):
        longest = max(map(len, some))
        tokens = np.zeros((len(some), longest), np.int64)
        mask = np.zeros_like(tokens)
        for row, array in enumerate(some):
            tokens[row, : len(array)] = array
            mask[row, : len(array)] = 1
        request = ModelInferRequest(model_name=encoder.name)
        for name, value in ((IDS, tokens), (MASK, mask)):
            request.inputs.add(name=name, datatype="INT64", shape=value.shape)
            request.raw_input_contents.append(value.tobytes())
        request.outputs.add(name=signature.outputs[0].name)
        yield request


def _chunks(signature: Signature, items: list[Any]) -> Iterator[list[Any]]:
    size = max(1, signature.max_batch_size)
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _rows(answer: bytes) -> Floats:
    message = ModelInferResponse.FromString(answer)
    shape = tuple(message.outputs[0].shape)
    rows: Floats = np.frombuffer(message.raw_output_contents[0], np.float32).reshape(shape)
    return rows
