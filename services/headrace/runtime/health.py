"""`grpc.health.v1.Health` of one process: whether it lives, and whether its services can take work."""

import asyncio
from collections.abc import Sequence

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


class Health(HealthServicer):  # type: ignore[misc]  # grpc_health has no types
    """Answers for the names of the services, and for "", the whole server. Not serving until told.

    A Watch ends behind the last change. grpcio's own servicer leaves it open,
    and every stop would take its whole grace as soon as one client watches.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(("", *names))
        self._serving = False
        self._able = True
        self._ended = False
        self._changed = asyncio.Event()

    def begin(self) -> None:
        """Serving from now on."""
        self._serving = True
        self._note()

    def tell_services(self, *, ready: bool) -> None:
        """Whether the services can take work while it serves; the health of "" stays as it is."""
        self._able = ready
        self._note()

    def end(self) -> None:
        """Not serving any more; who watches hears that as the last."""
        self._ended = True
        self._serving = False
        self._note()

    async def Check(
        self,
        request: HealthCheckRequest,
        context: "grpc.aio.ServicerContext[HealthCheckRequest, HealthCheckResponse]",
    ) -> HealthCheckResponse:
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return HealthCheckResponse(status=self._status(request.service))

    async def Watch(
        self,
        request: HealthCheckRequest,
        context: "grpc.aio.ServicerContext[HealthCheckRequest, HealthCheckResponse]",
    ) -> None:
        told = None
        while True:
            changed, ended = self._changed, self._ended  # before the write: meanwhile more may happen
            status = self._status(request.service)
            if status != told:
                await context.write(HealthCheckResponse(status=status))
            told = status
            if ended:
                return
            await changed.wait()

    def _status(self, name: str) -> int:
        if name not in self._names:
            return int(UNKNOWN)
        return int(SERVING if self._serving and (self._able or not name) else NOT_SERVING)

    def _note(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
