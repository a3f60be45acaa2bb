"""Asks a running supervisor, by its public contract only. What neighbours import."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from headrace.local.errors import DOMAIN
from headrace.local.v1 import process_pb2
from headrace.local.v1.supervisor_service_pb2 import (
    ListRequest,
    StartRequest,
    StopRequest,
    WatchRequest,
)
from headrace.local.v1.supervisor_service_pb2_grpc import SupervisorServiceStub

_PREFIX = "PROCESS_STATE_"
_DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process. `state` is the contract's name without its prefix ("HEALTHY"); sockets are empty but for replicas."""

    name: str
    service: str
    state: str
    address: str
    hot_socket: str
    grpc_socket: str


class SupervisorClient:
    """One supervisor behind a channel to its socket, which its caller opened and closes.

    `list_s` bounds a question, `start_s` a start, `stop_s` a stop. Every method raises `grpc.aio.AioRpcError`.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        list_s: float = 5.0,
        start_s: float = 120.0,
        stop_s: float = 60.0,
    ) -> None:
        self._stub = SupervisorServiceStub(channel)
        self._list_s = list_s
        self._start_s = start_s
        self._stop_s = stop_s

    async def processes(self) -> list[ProcessInfo]:
        """All processes, those that are stopped included."""
        answer = await self._stub.List(ListRequest(), timeout=self._list_s)
        return list(map(_info, answer.processes))

    async def watch(self) -> AsyncGenerator[list[ProcessInfo]]:
        """All processes at once, and again at each change, for as long as the supervisor lives."""
        call = self._stub.Watch(WatchRequest())
        try:
            async for answer in call:
                yield list(map(_info, answer.processes))
        finally:
            call.cancel()

    async def start(self, name: str) -> ProcessInfo:
        """Starts a stopped process, or one more replica of a service; returns it healthy."""
        answer = await self._stub.Start(StartRequest(name=name), timeout=self._start_s)
        return _info(answer.process)

    async def stop(self, name: str) -> None:
        """Drains the process and stops it."""
        if not name:
            raise ValueError("an empty name would stop the whole mesh")
        await self._stub.Stop(StopRequest(name=name), timeout=self._stop_s)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The supervisor's reason for a refusal; empty when it is none of its own."""
    status, info = Status(), ErrorInfo()
    # grpc's stubs have one pair where there are many.
    trailers = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for name, value in trailers:
        if name == _DETAILS and isinstance(value, bytes):
            with suppress(DecodeError):
                status.ParseFromString(value)
    own = [info.reason for detail in status.details if detail.Unpack(info) and info.domain == DOMAIN]
    return str(own[0]) if own else ""


def _info(message: process_pb2.Process) -> ProcessInfo:
    return ProcessInfo(
        name=message.name,
        service=message.service,
        state=process_pb2.ProcessState.Name(message.state).removeprefix(_PREFIX),
        address=message.address,
        hot_socket=message.hot_socket,
        grpc_socket=message.grpc_socket,
    )
