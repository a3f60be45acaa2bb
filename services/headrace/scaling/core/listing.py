"""Which replicas the gateway is told: those that serve, and never none for want of knowing.

What was told before a restart holds until the owner of the replicas has been
heard and one of them serves, or until it has said for `hold_s` that none does.
An owner that falls silent afterwards changes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headrace.scaling.fleet import Replica, ReplicaState

HOLD_S = 5.0
"""Shorter than the supervisor waits for the gateway to let go of a replica, the last one included."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A replica as the gateway is told of it. `hot_socket` is empty where nothing is sent to its hot ingress."""

    name: str
    hot_socket: str
    grpc_socket: str


Endpoints = tuple[Endpoint, ...]


class Listing:
    """The list, from what is kept and what is seen. `kept` is None where nothing was ever told."""

    def __init__(self, kept: Endpoints | None, *, hold_s: float = HOLD_S) -> None:
        self._kept = kept
        self._hold_s = hold_s
        self._serving: Endpoints | None = None
        self._empty_since: float | None = None
        self._registered = False
        self._withdrawn: set[str] = set()
        self._returning: set[str] = set()

    def see(self, replicas: Sequence[Replica], now: float) -> None:
        """What the owner says of all replicas."""
        self._serving = tuple(_endpoints(replicas))
        self._registered = self._registered or bool(self._serving)
        if self._empty_since is None:
            self._empty_since = now
        self._withdrawn -= self._returning
        self._returning.clear()

    def withdraw(self, name: str) -> None:
        """Leaves out a replica that is about to end, although it serves."""
        self._withdrawn.add(name)
        self._returning.discard(name)

    def restore(self, name: str) -> None:
        """Leaves the replica to what the owner says, from its next word on: the last one may be older than its end."""
        if name in self._withdrawn:
            self._returning.add(name)

    def endpoints(self, now: float) -> Endpoints | None:
        """What the gateway is to know at `now`; None: nothing can be said yet."""
        listed = self._serving if self._settled(now) else self._kept
        if listed is None:
            return None
        return tuple(endpoint for endpoint in listed if endpoint.name not in self._withdrawn)

    def due(self, now: float) -> float | None:
        """When the list changes by itself, in seconds from `now`; None: it does not."""
        if self._empty_since is None or self._settled(now):
            return None
        return self._empty_since + self._hold_s - now

    def _settled(self, now: float) -> bool:
        if self._empty_since is None:
            return False
        return self._registered or now >= self._empty_since + self._hold_s


def _endpoints(replicas: Iterable[Replica]) -> Iterable[Endpoint]:
    for replica in replicas:
        if replica.state is ReplicaState.SERVING:
            yield Endpoint(replica.name, replica.hot_socket, replica.grpc_socket)
