"""ModelStreamInfer: many requests in flight on one stream, each answered or refused by itself.

Answers leave as soon as they are there and carry the request's id. Requests
without an id can be told apart by their order only: among them it is kept.
"""

from collections.abc import AsyncIterator
from functools import partial

from headrace.inference.encoder import varint
from headrace.inference.errors import streams_exhausted
from headrace.inference.inflight import InFlight
from headrace.inference.parts import part_of
from headrace.inference.shared_memory import Inferring
from headrace.inference.told import with_told
from headrace.inference.v2.grpc_service_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from headrace.runtime.boundary import CANCELLED
from headrace.runtime.clock import Clock
from headrace.runtime.endings import CallEnds
from headrace.runtime.errors import CodeTable, HeadraceError, Rejection, rejected
from headrace.runtime.rpc import Call

MAX_IN_FLIGHT = 256
"""Requests of one stream that are read and not answered; the next is read when one of them is."""

MAX_STREAMS = 1024
"""Of a replica, open at once."""

DRAINING = HeadraceError("DRAINING", "the replica stops: open the stream again", retry_after_s=1.0)

RESPONSE_TAG = b"\x12"  # ModelStreamInferResponse.infer_response
FINAL_WANTED = "triton_enable_empty_final_response"
FINAL = ModelInferResponse()
FINAL.parameters["triton_final_response"].bool_param = True
FINAL_TOLD = FINAL.SerializeToString()
GRPC_ERRORS = "triton_grpc_error"
"""Metadata with which a client has its stream end with the first error's status, as Triton does."""


class Streams:
    """Answers streams until `end`: an open one would hold up the server's drain."""

    def __init__(
        self,
        service: Inferring,
        codes: CodeTable,
        clock: Clock,
        ends: CallEnds,
        most: int = MAX_IN_FLIGHT,
    ) -> None:
        self._service = service
        self._codes = codes
        self._clock = clock
        self._ends = ends
        self._most = most
        self._open: set[InFlight] = set()
        self._ended = False

    def end(self) -> None:
        """Reads no more requests of any stream; what was read is answered."""
        self._ended = True
        for stream in self._open:
            stream.stop()

    async def answers(self, requests: AsyncIterator[ModelInferRequest], call: Call) -> AsyncIterator[bytes]:
        """Serialised ModelStreamInferResponses.

        Raises what ends the whole stream: DRAINING, OVERLOADED. A client that leaves
        cancels all that is in flight.
        """
        if len(self._open) >= MAX_STREAMS:
            raise streams_exhausted(MAX_STREAMS)
        stream = InFlight(requests, partial(self._answer, call), self._most)
        self._open.add(stream)
        if self._ended:
            stream.stop()
        try:
            while (answer := await stream.next()) is not None:
                yield answer
                stream.sent()
        finally:
            self._open.discard(stream)
            await stream.close()
        if self._ended:
            raise DRAINING

    async def _answer(self, call: Call, request: ModelInferRequest, number: int) -> bytes:
        part = part_of(call, number, self._clock.monotonic(), request.ByteSize())
        code, reason = CANCELLED, ""
        try:
            answer = await self._service.infer(request, part, lambda done: done.encoded(request.id))
            body = with_told(answer, request, part.trailing)
            code = 0
        except Exception as error:  # the root of a request's task: the stream and the others go on
            told = rejected(error, self._codes)
            code, reason = told.code, error.reason if isinstance(error, HeadraceError) else "INTERNAL"
            if call.metadata.get(GRPC_ERRORS) == "true":
                raise
            return _refusal(request, told, reason)
        finally:
            self._ends.ended(part, code, reason, self._clock.monotonic())
        if FINAL_WANTED in request.parameters and request.parameters[FINAL_WANTED].bool_param:
            body += FINAL_TOLD
        return b"".join((RESPONSE_TAG, varint(len(body)), body))


def _refusal(request: ModelInferRequest, told: Rejection, reason: str) -> bytes:
    """Triton's form: a message and the request's id; the reason and the code are ours, as parameters."""
    response = ModelInferResponse(
        id=request.id, model_name=request.model_name, model_version=request.model_version
    )
    response.parameters["code"].int64_param = told.code
    response.parameters["reason"].string_param = reason
    if told.retry_after_s is not None:
        response.parameters["retry_after_ms"].int64_param = round(told.retry_after_s * 1000)
    return ModelStreamInferResponse(
        error_message=told.message or reason, infer_response=response
    ).SerializeToString()
