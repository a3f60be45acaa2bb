"""The wait of a patient model: it opens with the first request of a shape, and is never opened again."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from math import inf
from typing import Generic, TypeVar

from headrace.inference.core.arrivals import Arrivals
from headrace.inference.core.costs import CostCurve
from headrace.inference.core.cutting import MARGIN, MARGIN_S
from headrace.inference.core.lanes import Item
from headrace.inference.core.policy import BatchPolicy

T = TypeVar("T", bound=Item)


@dataclass(slots=True, eq=False)
class Group(Generic[T]):
    """The requests of one shape: how many rows wait, since when, and what a batch of them costs."""

    curve: CostCurve
    rows: int = 0
    arrivals: Arrivals[T] = field(default_factory=Arrivals)


@dataclass(frozen=True, slots=True)
class Window:
    """How long the requests of one shape wait for company: until `ends`, or until a deadline wants them begun."""

    bucket: Hashable
    rows: int
    ends: float
    begins: float

    @property
    def cut_at(self) -> float:
        """When the wait ends if nobody else comes."""
        return min(self.ends, self.begins)

    def ripe(self, policy: BatchPolicy, now: float) -> str:
        """What ends the wait now: "full", "delay" or "slack"; empty when nothing does."""
        enough = max(policy.preferred, default=policy.max_batch_size)
        if self.rows >= enough:
            return "full"
        if self.ends <= now:
            return "delay"
        return "slack" if self.begins <= now else ""


def window_of(group: Group[T], first: T, max_delay_s: float) -> Window:
    """The window of a shape whose earliest due request is `first`."""
    oldest = group.arrivals.oldest()
    assert oldest is not None, "a shape that waits has an oldest request"
    run = group.curve.predict(group.rows * first.length) if group.curve.known else 0.0
    latest = inf if first.deadline is None else first.deadline - run * MARGIN - MARGIN_S
    return Window(
        first.bucket, group.rows, oldest.arrived + max_delay_s, min(latest, first.start_by - MARGIN_S)
    )
