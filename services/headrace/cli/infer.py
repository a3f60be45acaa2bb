"""`headrace infer`: one request through the gateway, and what it cost in time and money."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.cli.errors import CliError
from headrace.cli.mesh import channel, listed, state_of, token
from headrace.cli.output import Output, money
from headrace.cli.tensors import Tensor, Wanted, from_argument, from_raw, from_text
from headrace.inference.v2 import grpc_service_pb2 as pb
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from headrace.local.statedir import write_atomically
from headrace.runtime.channels import bearer

if TYPE_CHECKING:  # declared for types only
    from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceAsyncStub

DEADLINE_S = 60.0
SHOWN = 6


@dataclass(frozen=True, slots=True)
class Request:
    """What `infer` was asked for."""

    state_dir: Path
    model: str
    texts: Sequence[str]
    inputs: Sequence[str]
    rest: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The outputs, and the `headrace-*` metadata beside them."""

    outputs: Sequence[Tensor]
    metadata: Mapping[str, str]
    seconds: float


def infer(request: Request, output: Output) -> None:
    """Sends the request and prints its answer."""
    if not request.texts and not request.inputs:
        raise CliError(
            "nothing to infer", "neither --text nor --input was given", "see `headrace infer --help`"
        )
    state = state_of(request.state_dir)
    gateway = listed(state).gateway_address
    credential = token(state.demo_token)
    answer = asyncio.run(_through(gateway, credential, request))
    trace_id = answer.metadata.get("headrace-trace-id", "")
    if trace_id:
        write_atomically(state.last_trace, json.dumps({"trace_id": trace_id}).encode())
    output.document(document(request.model, answer))
    show(answer, output)


async def _through(gateway: str, credential: str, request: Request) -> Answer:
    async with channel(gateway) as opened:
        stub = GRPCInferenceServiceStub(opened)
        metadata = await stub.ModelMetadata(
            pb.ModelMetadataRequest(name=request.model), timeout=DEADLINE_S, metadata=bearer(credential)
        )
        wanted = [Wanted(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs]
        tensors = [from_argument(argument, wanted) for argument in request.inputs]
        if request.texts:
            tensors.append(from_text(request.texts, wanted))
        if request.rest:
            return await asyncio.to_thread(_by_rest, gateway, credential, request.model, tensors)
        return await _by_grpc(stub, credential, request.model, tensors)


async def _by_grpc(
    stub: "GRPCInferenceServiceAsyncStub", credential: str, model: str, tensors: Sequence[Tensor]
) -> Answer:
    message = pb.ModelInferRequest(model_name=model)
    for tensor in tensors:
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_input_contents.append(tensor.raw())
    begun = time.perf_counter()
    call = stub.ModelInfer(message, timeout=DEADLINE_S, metadata=bearer(credential))
    answer = await call
    seconds = time.perf_counter() - begun
    outputs = [
        from_raw(tensor.name, tensor.datatype, list(tensor.shape), raw)
        for tensor, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    ]
    trailing = await call.trailing_metadata() or ()
    return Answer(outputs, {name: str(value) for name, value in trailing}, seconds)


def _by_rest(gateway: str, credential: str, model: str, tensors: Sequence[Tensor]) -> Answer:
    body = {"inputs": [{"name": tensor.name, **tensor.document()} for tensor in tensors]}
    request = urllib.request.Request(
        f"http://{gateway}/v2/models/{model}/infer",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {credential}"},
    )
    begun = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:  # noqa: S310  # http, above
            answer = json.load(response)
            metadata = {name.lower(): value for name, value in response.headers.items()}
    except urllib.error.HTTPError as error:
        raise CliError(
            f"{gateway} answered HTTP {error.code}",
            _said(error),
            "see `headrace limits`" if error.code == 429 else "see `headrace models`",
        ) from None
    except OSError as error:
        raise CliError(f"{gateway} can't be reached", str(error), "see `headrace status`") from None
    outputs = [Tensor(t["name"], t["datatype"], t["shape"], t["data"]) for t in answer["outputs"]]
    return Answer(outputs, metadata, time.perf_counter() - begun)


def _said(error: urllib.error.HTTPError) -> str:
    text = error.read(4096).decode(errors="replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text.strip() or error.reason


def document(model: str, answer: Answer) -> dict[str, object]:
    """What `infer --json` prints; null is what this mesh does not tell (yet)."""
    told = answer.metadata
    return {
        "model": model,
        "outputs": {tensor.name: tensor.document() for tensor in answer.outputs},
        "timing_us": {
            "total": _number(told, "headrace-total-us"),
            "queue": _number(told, "headrace-queue-us"),
            "batch_wait": _number(told, "headrace-batch-wait-us"),
            "compute": _number(told, "headrace-compute-us"),
            "client": round(answer.seconds * 1e6),
        },
        "cache": told.get("headrace-cache"),
        "batch_size": _number(told, "headrace-batch-size"),
        "batch_position": _number(told, "headrace-batch-position"),
        "cost": _cost(told),
        "trace_id": told.get("headrace-trace-id"),
        "replica": told.get("headrace-replica"),
    }


def _cost(told: Mapping[str, str]) -> dict[str, object] | None:
    nanos = _number(told, "headrace-cost-nanos")
    return None if nanos is None else {"nanos": nanos, "currency": told.get("headrace-currency")}


def _number(metadata: Mapping[str, str], name: str) -> int | None:
    return int(metadata[name]) if metadata.get(name, "").isdigit() else None


def show(answer: Answer, output: Output) -> None:
    """The answer for a person."""
    for tensor in answer.outputs:
        shown = "  ".join(_shown(value) for value in tensor.data[:SHOWN])
        more = " …" if len(tensor.data) > SHOWN else ""
        output.text(f"{tensor.name}  {tensor.datatype} {tensor.shape}  {shown}{more}")
    told = answer.metadata
    parts = [
        f"{label} {int(told[name]) / 1000:.2f} ms"
        for label, name in (
            ("total", "headrace-total-us"),
            ("queue", "headrace-queue-us"),
            ("compute", "headrace-compute-us"),
        )
        if told.get(name, "").isdigit()
    ]
    parts.append(f"as the client saw it {answer.seconds * 1000:.2f} ms")
    output.text(f"time   {', '.join(parts)}")
    output.text(f"from   {_origin(told)}")
    if (nanos := _number(told, "headrace-cost-nanos")) is not None:
        output.text(f"cost   {money(nanos)} {told.get('headrace-currency', '')}")
    if trace_id := told.get("headrace-trace-id"):
        output.text(f"trace  {trace_id}  (headrace trace last)")


LEVELS = {
    "near": "the near-cache of {replica}",
    "memory": "the cache's memory",
    "redis": "the cache's Redis",
}
"""Where an answer came from, by headrace-cache; from a batch otherwise."""


def _origin(told: Mapping[str, str]) -> str:
    replica = told.get("headrace-replica", "?")
    level = LEVELS.get(told.get("headrace-cache", ""))
    if level:
        return level.format(replica=replica)
    rows = told.get("headrace-batch-size", "?")
    return (
        f"a batch of {rows} row(s) on {replica}" if rows != "0" else f"the same request, running on {replica}"
    )


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
