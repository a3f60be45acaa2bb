"""What all connections of a hot ingress share."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from headrace.runtime.access import Access
from headrace.runtime.clock import Clock
from headrace.runtime.endings import UNRECORDED, CallEnds
from headrace.runtime.errors import CodeTable
from headrace.runtime.ingress.core.budget import ByteBudget
from headrace.runtime.ingress.limits import IngressLimits
from headrace.runtime.rpc import Method
from headrace.runtime.telemetry import Telemetry

DEADLINE_SLOT_S = 0.005


class Connection(Protocol):
    """A connection as the others, and the server, know it."""

    def granted(self) -> None:
        """The bytes that it waited for are reserved."""
        ...

    def close_idle(self) -> bool:
        """Closes when no request is open; False when one is."""
        ...

    def shut(self) -> None:
        """Refuses the open request, if any, and closes."""
        ...


class Expiring(Protocol):
    """A call that has a deadline."""

    def expire(self) -> None:
        """The deadline is over."""
        ...


class Service:
    """The methods, what decides about calls, and what is bounded across connections."""

    __slots__ = (
        "_deadlines", "access", "budget", "clock", "codes", "connections", "draining", "empty", "ends", "healthy",
        "limits", "loop", "methods", "tasks", "telemetry",
    )  # fmt: skip

    def __init__(
        self,
        methods: Sequence[Method],
        *,
        access: Access,
        codes: CodeTable,
        telemetry: Telemetry,
        clock: Clock,
        limits: IngressLimits,
        ends: CallEnds = UNRECORDED,
    ) -> None:
        self.methods = {
            method.path.encode("ascii"): method for method in methods if not method.client_streaming
        }
        self.access = access
        self.codes = codes
        self.telemetry = telemetry
        self.clock = clock
        self.limits = limits
        self.ends = ends
        self.budget: ByteBudget[Connection] = ByteBudget(limits.budget_bytes)
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._deadlines: dict[int, set[Expiring]] = {}
        self.empty = asyncio.Event()
        self.healthy = True
        self.draining = False
        self.loop: asyncio.AbstractEventLoop

    def joined(self, connection: Connection) -> None:
        """A connection has been made."""
        self.connections.add(connection)
        self.empty.clear()

    def left(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self.empty.set()

    def expire_in(self, call: Expiring, seconds: float) -> set[Expiring]:
        """Expires `call` in as many seconds, or up to `DEADLINE_SLOT_S` later.

        Until then it may leave the set that is returned. Nearly every call ends
        long before its deadline, and a timer for each, to be cancelled again,
        took 5 % of the hot path; calls of a slot share one.
        """
        slot = int((self.loop.time() + seconds) / DEADLINE_SLOT_S) + 1
        due = self._deadlines.get(slot)
        if due is None:
            due = self._deadlines[slot] = set()
            self.loop.call_at(slot * DEADLINE_SLOT_S, self._expire, slot)
        due.add(call)
        return due

    def _expire(self, slot: int) -> None:
        for call in tuple(self._deadlines.pop(slot)):
            call.expire()

    def give(self, size: int) -> None:
        """Returns bytes to the budget; those who have waited for them go on."""
        for connection in self.budget.give(size):
            connection.granted()

    def forget(self, connection: Connection) -> None:
        """The connection waits for no bytes any more."""
        for other in self.budget.forget(connection):
            other.granted()
