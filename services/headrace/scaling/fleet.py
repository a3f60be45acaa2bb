"""The replicas of inference, as whoever decides their number sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol


class ReplicaState(Enum):
    """Where a replica stands."""

    STARTING = auto()  # asked for and not ready yet, or started again after it died
    SERVING = auto()  # runs, and takes requests
    DRAINING = auto()  # runs, takes no new requests, and ends
    STOPPED = auto()  # does not run


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica.

    `address` is the host:port of its gRPC server; the sockets are where the
    gateway and the other services of this machine reach it: the hot ingress
    (HTTP/1.1) and the gRPC server, which believes its peers.
    """

    name: str
    state: ReplicaState
    address: str
    hot_socket: str
    grpc_socket: str


class Fleet(Protocol):
    """Starts and stops replicas.

    Its owner is the only one who knows what really runs: nothing here is counted.
    """

    async def replicas(self) -> Sequence[Replica]:
        """All replicas, asked of their owner now; raises SUPERVISOR_LOST."""
        ...

    async def start(self) -> Replica:
        """Starts one more. Returns when it is warm, listed, and the gateway has acknowledged the list.

        Raises SUPERVISOR_LOST, or what its owner says of a start that failed.
        """
        ...

    async def stop(self, name: str) -> None:
        """Ends a replica without losing a request.

        Out of the list, the gateway's acknowledgement, a second in which it
        still serves, drain, stopped. Raises SUPERVISOR_LOST, or what its owner
        says of a replica that can't be stopped.
        """
        ...
