"""SupervisorService: decode, call, encode."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from google.protobuf.duration_pb2 import Duration

from headrace.local.kept import Kept
from headrace.local.shutdown import Shutdown
from headrace.local.supervisor import Supervisor
from headrace.local.v1.process_pb2 import Process, ProcessState
from headrace.local.v1.supervisor_service_pb2 import (
    DrainRequest,
    DrainResponse,
    ListRequest,
    ListResponse,
    StartRequest,
    StartResponse,
    StopRequest,
    StopResponse,
    WatchRequest,
    WatchResponse,
)
from headrace.runtime.access import OBSERVE, OPERATE
from headrace.runtime.rpc import Call

_PREFIX = "/headrace.local.v1.SupervisorService/"
SCOPES = {
    f"{_PREFIX}List": OBSERVE,
    f"{_PREFIX}Watch": OBSERVE,
    f"{_PREFIX}Start": OPERATE,
    f"{_PREFIX}Drain": OPERATE,
    f"{_PREFIX}Stop": OPERATE,
}


class SupervisorServicer:
    """The contract over one supervisor."""

    def __init__(self, supervisor: Supervisor, shutdown: Shutdown, state_dir: str) -> None:
        self._supervisor = supervisor
        self._shutdown = shutdown
        self._state_dir = state_dir

    async def List(self, request: ListRequest, call: Call) -> ListResponse:
        return ListResponse(
            processes=map(_process, self._supervisor.processes.values()),
            gateway_address=self._supervisor.gateway_address,
            state_dir=self._state_dir,
        )

    async def Watch(self, request: WatchRequest, call: Call) -> AsyncIterator[WatchResponse]:
        async with aclosing(self._supervisor.changes()) as changes:
            async for _ in changes:
                yield WatchResponse(processes=map(_process, self._supervisor.processes.values()))

    async def Start(self, request: StartRequest, call: Call) -> StartResponse:
        return StartResponse(process=_process(await self._supervisor.add(request.name)))

    async def Drain(self, request: DrainRequest, call: Call) -> DrainResponse:
        return DrainResponse(process=_process(await self._supervisor.drain(request.name)))

    async def Stop(self, request: StopRequest, call: Call) -> StopResponse:
        if request.name:
            return StopResponse(processes=[_process(await self._supervisor.stop(request.name))])
        await self._shutdown.ask_and_wait()
        return StopResponse(processes=map(_process, self._supervisor.processes.values()))


def _process(process: Kept) -> Process:
    uptime = Duration()
    uptime.FromNanoseconds(round(process.uptime_s * 1e9))
    endpoint = process.spec.endpoint
    return Process(
        name=process.spec.name,
        service=process.spec.service,
        pid=process.pid,
        address=process.spec.address,
        state=ProcessState.Value(f"PROCESS_STATE_{process.state.name}"),
        restarts=process.restarts,
        uptime=uptime,
        last_exit=process.last_exit,
        hot_socket=str(endpoint.hot_socket or "") if endpoint else "",
        grpc_socket=str(endpoint.grpc_socket) if endpoint else "",
    )
