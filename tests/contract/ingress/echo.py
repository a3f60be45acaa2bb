"""A process that echoes: one servicer, on the hot ingress and on grpc.aio alike.

What a request's `model_name` says is what the handler does; `id` tells whose
request it is. Run as `python -m tests.contract.ingress.echo FOLDER`.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop
from opentelemetry.sdk.trace import TracerProvider

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from headrace.runtime.access import INFER, Access, TokenVerifier
from headrace.runtime.boundary import Boundary, TokenIdentity
from headrace.runtime.clock import SystemClock
from headrace.runtime.errors import RUNTIME_CODES, FieldViolation, HeadraceError, QuotaViolation
from headrace.runtime.ingress.ingress import HotIngress
from headrace.runtime.ingress.limits import IngressLimits
from headrace.runtime.rpc import Call, Method
from headrace.runtime.server import ServerSettings, serving
from headrace.runtime.telemetry import Telemetry

INFER_PATH = "/inference.GRPCInferenceService/ModelInfer"
STREAM_PATH = "/headrace.test.v1.EchoService/Stream"
SCOPES = {INFER_PATH: INFER, STREAM_PATH: INFER}
MAX_MESSAGE_BYTES = 1 << 20
BUDGET_BYTES = 64 << 20

HOT, GRPC, SEEN = "hot.sock", "grpc.sock", "seen"


class Echo:
    """What the tests' requests ask for."""

    def __init__(self, seen: Path) -> None:
        self._seen = seen

    async def infer(self, request: ModelInferRequest, call: Call) -> ModelInferResponse | bytes:
        """Echoes id, tenant, text and tensors, after doing what `model_name` asks for."""
        call.initial.append(("headrace-test-initial", request.id))
        call.trailing.append(("headrace-test-id", request.id))
        await self._act(request, call)
        if request.model_name == "count":
            return ModelInferResponse(
                id=request.id, model_version=str(sum(map(len, request.raw_input_contents)))
            )
        answer = _echo(request, call)
        return answer.SerializeToString() if request.model_name == "bytes" else answer

    async def stream(self, request: ModelInferRequest, call: Call) -> AsyncIterator[ModelInferResponse]:
        """Answers `count` times, then does what `model_name` asks for."""
        call.initial.append(("headrace-test-initial", request.id))
        for index in range(request.parameters["count"].int64_param):
            answer = _echo(request, call)
            answer.model_version = str(index)
            yield answer
        call.trailing.append(("headrace-test-id", request.id))
        await self._act(request, call)

    async def _act(self, request: ModelInferRequest, call: Call) -> None:
        seconds = request.parameters["ms"].int64_param / 1e3
        match request.model_name:
            case "sleep":
                await self._cancellable(seconds, request.id)
            case "stubborn":  # a handler that ends when it likes, whoever waits
                await _stubborn(seconds)
            case "cancels":
                raise asyncio.CancelledError
            case "fails":
                raise _error(request.parameters["reason"].string_param)
            case "crashes":
                raise ZeroDivisionError("the secret of the handler")
            case "splits":
                call.trailing.append(("headrace-test", "a\r\nx-evil: 1\r\n\r\nHTTP/1.1 200 OK"))

    async def _cancellable(self, seconds: float, name: str) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            (self._seen / name).touch()
            raise


def methods(seen: Path) -> list[Method]:
    """The echo's two methods."""
    echo = Echo(seen)
    return [
        Method(INFER_PATH, ModelInferRequest, echo.infer),
        Method(STREAM_PATH, ModelInferRequest, echo.stream, server_streaming=True),
    ]


async def serve(folder: Path, limits: IngressLimits) -> None:
    """Serves on both sockets until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    telemetry = Telemetry("echo", TracerProvider(shutdown_on_exit=False), sample_ratio=0.0)
    clock, access = SystemClock(), Access(SCOPES)
    ingress = HotIngress(
        methods(folder / SEEN),
        access=access,
        codes=RUNTIME_CODES,
        telemetry=telemetry,
        clock=clock,
        limits=limits,
    )
    boundary = Boundary(
        identity=TokenIdentity(TokenVerifier(folder / "jwks.json")),
        access=access,
        codes=RUNTIME_CODES,
        telemetry=telemetry,
        clock=clock,
    )
    settings = ServerSettings("127.0.0.1:0", folder / GRPC, max_message_bytes=limits.max_message_bytes)
    async with serving(methods(folder / SEEN), boundary, settings):
        await ingress.listen(folder / HOT)
        (folder / "ready").touch()
        await stop.wait()
        await ingress.close(1.0)


def _echo(request: ModelInferRequest, call: Call) -> ModelInferResponse:
    answer = ModelInferResponse(model_name=request.model_name, id=request.id)
    answer.parameters["tenant"].string_param = call.caller.tenant
    text = call.metadata.get("headrace-test-bin", b"")
    answer.parameters["binary"].string_param = text.hex() if isinstance(text, bytes) else "not decoded"
    answer.parameters["deadline"].bool_param = call.deadline is not None
    answer.raw_output_contents.extend(request.raw_input_contents)
    return answer


async def _stubborn(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        try:
            await asyncio.sleep(until - loop.time())
        except asyncio.CancelledError:  # swallowed: that is the misbehaviour under test
            continue


def _error(reason: str) -> HeadraceError:
    return HeadraceError(
        reason,
        "100 % wrong: é\r\nno more",
        {"key": "value"},
        retry_after_s=2.5 if reason == "OVERLOADED" else None,
        violations=(FieldViolation("id", "is odd"),),
        quota=(QuotaViolation("tenant", "none left"),) if reason == "MESSAGE_TOO_LARGE" else (),
    )


if __name__ == "__main__":
    uvloop.run(
        serve(
            Path(sys.argv[1]), IngressLimits(max_message_bytes=MAX_MESSAGE_BYTES, budget_bytes=BUDGET_BYTES)
        )
    )
