"""A request that waits, the batch that it ends in, and what its caller gets."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.inference.backend import Backend
from headrace.inference.core.cutting import Cut
from headrace.inference.core.lanes import Item
from headrace.inference.execution import Answer, Executed, Work, execute
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call

NO_WORK = Work(0, [], [])


@dataclass(slots=True, eq=False)
class Ticket(Item):
    """A request in the queue: its work, its call, and who waits for it."""

    work: Work
    call: Call
    waiter: "asyncio.Future[Outcome]"
    ending: "Outcome | HeadraceError | None" = field(default=None, init=False)

    def tell(self, ending: "Outcome | HeadraceError | None") -> None:
        """Ends the wait, unless the caller has left. The inputs are not needed any more."""
        self.work = NO_WORK
        if self.waiter.done():
            return
        if isinstance(ending, HeadraceError):
            self.waiter.set_exception(ending)
        elif ending is not None:
            self.waiter.set_result(ending)


@dataclass(frozen=True, slots=True)
class Batch:
    """An executed batch, without the requests that had left before it began."""

    tickets: list[Ticket]
    cut: Cut[Ticket]
    cut_at: float
    executed: Executed

    @property
    def rows(self) -> int:
        """Rows of the batch as it was cut."""
        return self.cut.rows

    @property
    def why(self) -> str:
        """What ended the batch's wait."""
        return self.cut.why

    @property
    def shares(self) -> list[int]:
        """CPU nanoseconds of each request."""
        return self.executed.shares

    @property
    def padding(self) -> float:
        """The share of what the model computed that was padding."""
        done = self.executed
        return done.padded / done.cells if done.cells else 0.0

    @property
    def seconds(self) -> float | None:
        """What the batch took; None where that says nothing of its size."""
        done = self.executed
        if done.runs != 1 or None in done.answers or len(self.tickets) != len(self.cut.items):
            return None
        return (done.ended_ns - done.started_ns) * 1e-9


@dataclass(slots=True, eq=False)
class Outcome:
    """One request's answer, and what the batch that executed it was.

    Holds nothing of the batch itself: its tickets hold the futures that hold
    this, and the ring would keep every tensor alive until the collector runs.
    Times are nanoseconds on the monotonic clock; `queue_ns` is the wait between
    the request's entry and the batch's start, `cpu_ns` the request's share of the
    batch's CPU time.
    """

    answer: Answer
    queue_ns: int
    cpu_ns: int
    batch_rows: int
    started_ns: int
    ended_ns: int


def executed(backend: Backend, cut: Cut[Ticket], cut_at: float, axes: Sequence[int | None]) -> Batch:
    """Executes what was cut; runs in an instance's thread. Who has left since then is left out."""
    tickets = [ticket for ticket in cut.items if not ticket.waiter.done()]
    works = [ticket.work for ticket in tickets]
    done = execute(backend, works, lambda place: not tickets[place].waiter.done(), axes)
    return Batch(tickets, cut, cut_at, done)
