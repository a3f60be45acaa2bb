"""What all connections of a hot ingress share."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from headrace.runtime.access import Access
from headrace.runtime.clock import Clock
from headrace.runtime.errors import CodeTable
from headrace.runtime.ingress.core.budget import ByteBudget
from headrace.runtime.ingress.limits import IngressLimits
from headrace.runtime.rpc import Method
from headrace.runtime.telemetry import Telemetry


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


class Service:
    """The methods, what decides about calls, and what is bounded across connections."""

    __slots__ = (
        "access", "budget", "clock", "codes", "connections", "draining", "empty", "healthy",
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
    ) -> None:
        self.methods = {
            method.path.encode("ascii"): method for method in methods if not method.client_streaming
        }
        self.access = access
        self.codes = codes
        self.telemetry = telemetry
        self.clock = clock
        self.limits = limits
        self.budget: ByteBudget[Connection] = ByteBudget(limits.budget_bytes)
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
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

    def give(self, size: int) -> None:
        """Returns bytes to the budget; those who have waited for them go on."""
        for connection in self.budget.give(size):
            connection.granted()

    def forget(self, connection: Connection) -> None:
        """The connection waits for no bytes any more."""
        for other in self.budget.forget(connection):
            other.granted()
