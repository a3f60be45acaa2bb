"""From the replicas that really run to the number that is desired: one step."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.scaling.fleet import Replica, ReplicaState

COMING = frozenset({ReplicaState.STARTING, ReplicaState.SERVING})
_NUMBER = re.compile(r"\d+$")


@dataclass(frozen=True, slots=True)
class Start:
    """One more."""


@dataclass(frozen=True, slots=True)
class Stop:
    """One less: this one."""

    name: str


def coming(replicas: Sequence[Replica]) -> list[Replica]:
    """Those that run or will: one that drains, or was stopped, is none."""
    return [replica for replica in replicas if replica.state in COMING]


def step(replicas: Sequence[Replica], desired: int) -> Start | Stop | None:
    """What brings the number closer; None when it is there.

    Of several, one that does not serve yet is stopped first, then the one of
    the highest number.
    """
    here = coming(replicas)
    if len(here) < desired:
        return Start()
    if len(here) > desired:
        return Stop(max(here, key=_dispensable).name)
    return None


def _dispensable(replica: Replica) -> tuple[bool, int, str]:
    number = _NUMBER.search(replica.name)
    return replica.state is ReplicaState.STARTING, int(number.group()) if number else -1, replica.name
