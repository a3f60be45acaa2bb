"""Answers in the order of their requests, for a model that preserves it.

Execution is never delayed by this, only the answer. Each tenant has an order of
its own: nobody else could tell, and a slow request holds up its own tenant only.
"""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class OutputOrder(Generic[T]):
    """What each tenant's answers wait for."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[T]] = {}
        self._ready: set[T] = set()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def enter(self, tenant: str, request: T) -> None:
        """Gives `request` its place behind the tenant's earlier ones."""
        self._waiting.setdefault(tenant, deque()).append(request)

    def finish(self, tenant: str, request: T) -> list[T]:
        """Tells that `request` is answered, failed or left; the requests whose turn that makes it, in order."""
        self._ready.add(request)
        queue = self._waiting[tenant]
        released = []
        while queue and queue[0] in self._ready:
            released.append(queue.popleft())
            self._ready.remove(released[-1])
        if not queue:
            del self._waiting[tenant]
        return released
