"""headrace.scaling.v1.ScalingService: decode, ask the scaler, encode."""

from headrace.runtime.access import OBSERVE, OPERATE
from headrace.runtime.rpc import Call
from headrace.scaling.core.policy import Rules
from headrace.scaling.core.state import KEPT
from headrace.scaling.decision_wire import entry_message
from headrace.scaling.errors import field_invalid, pool_not_found
from headrace.scaling.scaler import Scaler, Seen
from headrace.scaling.stepper import Progress
from headrace.scaling.v1 import scaling_pb2 as pb
from headrace.scaling.v1 import scaling_service_pb2
from headrace.scaling.v1.scaling_service_pb2 import (
    ListDecisionsRequest,
    ListDecisionsResponse,
    ListPoolsRequest,
    ListPoolsResponse,
    SetAutoRequest,
    SetAutoResponse,
    SetReplicasRequest,
    SetReplicasResponse,
)

SERVICE = scaling_service_pb2.DESCRIPTOR.services_by_name["ScalingService"]
SCOPES = {
    f"/{SERVICE.full_name}/ListPools": OBSERVE,
    f"/{SERVICE.full_name}/ListDecisions": OBSERVE,
    f"/{SERVICE.full_name}/SetReplicas": OPERATE,
    f"/{SERVICE.full_name}/SetAuto": OPERATE,
}
POOL = "inference"
DEFAULT_LIMIT = 20


class ScalingServicer:
    """The one pool's number and history."""

    def __init__(self, scaler: Scaler, rules: Rules, progress: Progress) -> None:
        self._scaler = scaler
        self._rules = rules
        self._progress = progress

    async def ListPools(self, request: ListPoolsRequest, call: Call) -> ListPoolsResponse:
        return ListPoolsResponse(pools=[self._message(await self._scaler.seen())])

    async def SetReplicas(self, request: SetReplicasRequest, call: Call) -> SetReplicasResponse:
        _check(request.pool)
        return SetReplicasResponse(pool=self._message(await self._scaler.pin(request.replicas)))

    async def SetAuto(self, request: SetAutoRequest, call: Call) -> SetAutoResponse:
        _check(request.pool)
        return SetAutoResponse(pool=self._message(await self._scaler.unpin()))

    async def ListDecisions(self, request: ListDecisionsRequest, call: Call) -> ListDecisionsResponse:
        _check(request.pool)
        if not 0 <= request.limit <= KEPT:
            raise field_invalid("limit", f"must be between 0 and {KEPT}")
        entries = self._scaler.history.newest(request.limit or DEFAULT_LIMIT)
        return ListDecisionsResponse(decisions=map(entry_message, entries))

    def _message(self, seen: Seen) -> pb.Pool:
        pool = seen.pool
        mode = "PINNED" if pool.pinned else "AUTO" if pool.auto else "OFF"
        return pb.Pool(
            name=POOL,
            current=pool.running,
            desired=pool.desired,
            min=self._rules.least,
            max=self._rules.most,
            mode=pb.Mode.Value(f"MODE_{mode}"),
            last_decision=None if seen.last is None else entry_message(seen.last),
            changing=pool.changing,
            problem=self._progress.problem,
        )


def _check(pool: str) -> None:
    if pool not in ("", POOL):
        raise pool_not_found(pool)
