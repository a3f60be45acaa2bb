"""Asks a running scaling, by its public contract only. What neighbours and the command line import."""

from dataclasses import dataclass

import grpc

from headrace.scaling.core.conditions import Reading, Threshold
from headrace.scaling.core.policy import Action, Cause, Decision
from headrace.scaling.core.signals import Signal
from headrace.scaling.core.state import Entry
from headrace.scaling.decision_wire import entry_of
from headrace.scaling.v1 import scaling_pb2 as pb
from headrace.scaling.v1.scaling_service_pb2 import (
    ListDecisionsRequest,
    ListPoolsRequest,
    SetAutoRequest,
    SetReplicasRequest,
)
from headrace.scaling.v1.scaling_service_pb2_grpc import ScalingServiceStub

__all__ = [
    "Action",
    "Cause",
    "Decision",
    "Entry",
    "KnownPool",
    "Reading",
    "ScalingClient",
    "Signal",
    "Threshold",
]


@dataclass(frozen=True, slots=True)
class KnownPool:
    """A pool as it was told. `mode` is `auto`, `pinned` or `off`; `model` is empty where all are served."""

    name: str
    model: str
    current: int
    desired: int
    least: int
    most: int
    mode: str
    changing: bool
    problem: str
    last: Entry | None


class ScalingClient:
    """One scaling behind a channel that its caller opened and closes.

    `credentials` is the call metadata that carries the caller's token; its
    scopes must include `observe`, and `operate` to set anything. Every method
    raises `grpc.aio.AioRpcError`.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        credentials: tuple[tuple[str, str], ...] = (),
        *,
        deadline_s: float = 5.0,
    ) -> None:
        self._stub = ScalingServiceStub(channel)
        self._credentials = credentials
        self._deadline_s = deadline_s

    async def pools(self) -> list[KnownPool]:
        """Every pool."""
        answer = await self._stub.ListPools(
            ListPoolsRequest(), timeout=self._deadline_s, metadata=self._credentials
        )
        return list(map(_pool, answer.pools))

    async def set_replicas(self, replicas: int) -> KnownPool:
        """Pins the number; the replicas come and go after that."""
        answer = await self._stub.SetReplicas(
            SetReplicasRequest(replicas=replicas), timeout=self._deadline_s, metadata=self._credentials
        )
        return _pool(answer.pool)

    async def set_auto(self) -> KnownPool:
        """Leaves the number to the policy."""
        answer = await self._stub.SetAuto(
            SetAutoRequest(), timeout=self._deadline_s, metadata=self._credentials
        )
        return _pool(answer.pool)

    async def decisions(self, limit: int = 20) -> list[Entry]:
        """The history, newest first."""
        answer = await self._stub.ListDecisions(
            ListDecisionsRequest(limit=limit), timeout=self._deadline_s, metadata=self._credentials
        )
        return list(map(entry_of, answer.decisions))


def _pool(message: pb.Pool) -> KnownPool:
    return KnownPool(
        message.name,
        message.model,
        message.current,
        message.desired,
        message.min,
        message.max,
        pb.Mode.Name(message.mode).removeprefix("MODE_").lower(),
        message.changing,
        message.problem,
        entry_of(message.last_decision) if message.HasField("last_decision") else None,
    )
