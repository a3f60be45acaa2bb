"""A request that waits, the batch that it ends in, and what its caller gets."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace.inference.backend import Backend
from headrace.inference.core.cutting import Cut
from headrace.inference.core.history import PastBatch
from headrace.inference.core.lanes import Item
from headrace.inference.core.slots import FREELY, Grant
from headrace.inference.execution import Answer, Executed, Work, execute
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call

NO_WORK = Work(0, [], [])

Unpaid = Callable[[Call, Work, int], None]
"""(call, work, CPU nanoseconds): hears of a request that was executed, and whose caller left before its answer did."""


@dataclass(slots=True, eq=False)
class Ticket(Item):
    """A request in the queue: its work, its call, and who waits for it."""

    work: Work
    call: Call
    waiter: "asyncio.Future[Outcome]"
    ending: "Outcome | HeadraceError | None" = field(default=None, init=False)

    def tell(self, ending: "Outcome | HeadraceError | None") -> None:
        """Ends the wait, unless the caller has left. The inputs are not needed any more."""
        part, self.work = self.work.part, NO_WORK
        if self.waiter.done():
            if part is not None:
                part.left()
            return
        if isinstance(ending, HeadraceError):
            self.waiter.set_exception(ending)
        elif ending is not None:
            self.waiter.set_result(ending)

    def told_in_vain(self, work: Work, unpaid: Unpaid) -> None:
        """Its caller leaves; tells what was spent where the answer was there in that same turn of the loop."""
        waiter, part = self.waiter, work.part
        if waiter.cancelled():
            return  # it is told when it ends
        if waiter.exception() is None:
            cpu_ns = waiter.result().cpu_ns
            unpaid(self.call, work, cpu_ns) if part is None else part.spent(cpu_ns)
        if part is not None:
            part.left()


@dataclass(slots=True, eq=False)  # not frozen: each batch makes one, and that would triple its time
class Batch:
    """An executed batch, without the requests that had left before it began.

    `free_since` is when an instance last began to have nothing to do before the
    batch was cut, `instance` the number of the one that executed it, `grant` its
    leave to do so.
    """

    tickets: list[Ticket]
    cut: Cut[Ticket]
    cut_at: float
    executed: Executed
    free_since: float = 0.0
    instance: int = 0
    grant: Grant = FREELY

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

    def past(self) -> PastBatch:
        """What is remembered of it."""
        cut, done = self.cut, self.executed
        items = cut.items
        tenants = 1 if len(items) == 1 else len({item.tenant for item in items})
        waited_s = self.cut_at - (
            items[0].arrived if len(items) == 1 else min([item.arrived for item in items])
        )
        return PastBatch(
            self.cut_at,
            cut.why,
            cut.bound,
            cut.rows,
            len(self.tickets),
            tenants,
            waited_s,
            cut.predicted_s,
            self.took_s,
            self.padding,
            done.runs,
        )

    @property
    def padding(self) -> float:
        """The share of what the model computed that was padding."""
        done = self.executed
        return done.padded / done.cells if done.cells else 0.0

    def wait_ns(self, ticket: Ticket) -> int:
        """What of the request's wait was for company: while an instance had nothing to do, nor waited for a slot."""
        until = min(self.cut_at, self.grant.asked_at)
        return max(0, int((until - max(ticket.arrived, self.free_since)) * 1e9))

    @property
    def seconds(self) -> float | None:
        """What the batch took; None where that says nothing of its size."""
        done = self.executed
        if done.runs != 1 or None in done.answers or len(self.tickets) != len(self.cut.items):
            return None
        return self.took_s

    @property
    def took_s(self) -> float:
        """Seconds from its start to its end."""
        return (self.executed.ended_ns - self.executed.started_ns) * 1e-9


@dataclass(slots=True, eq=False)
class Outcome:
    """One request's answer, and what the batch that executed it was.

    Holds nothing of the batch itself: its tickets hold the futures that hold
    this, and the ring would keep every tensor alive until the collector runs.
    Times are nanoseconds on the monotonic clock; `queue_ns` is the wait between
    the request's entry and the batch's start, `cpu_ns` the request's share of the
    batch's CPU time, `wait_ns` what of `queue_ns` was for company, `position` the
    rows before the request's own in the batch.
    """

    answer: Answer
    queue_ns: int
    cpu_ns: int
    batch_rows: int
    started_ns: int
    ended_ns: int
    wait_ns: int = 0
    position: int = 0


@dataclass(slots=True, eq=False)
class Job:
    """A batch on its way to an instance."""

    cut: Cut[Ticket]
    cut_at: float
    free_since: float
    grant: Grant = FREELY


def executed(backend: Backend, job: Job, axes: Sequence[int | None], instance: int = 0) -> Batch:
    """Executes what was cut; runs in an instance's thread. Who has left since then is left out."""
    cut = job.cut
    tickets = [ticket for ticket in cut.items if not ticket.waiter.done()]
    works = [ticket.work for ticket in tickets]
    done = execute(backend, works, lambda place: not tickets[place].waiter.done(), axes)
    return Batch(tickets, cut, job.cut_at, done, job.free_since, instance, job.grant)
