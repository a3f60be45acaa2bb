"""The shell around one model's queue: futures, timers and instance threads.

It asks `core/queue.py` what to do and does it. Whole batches and their results
cross the thread boundary, never a future per request; an instance is one thread.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from headrace.inference import errors
from headrace.inference.backend import Backend
from headrace.inference.core.queue import BatchPolicy, BatchQueue, Cut, Item
from headrace.inference.execution import Answer, Executed, Work, execute
from headrace.metering.client import split_by_rows
from headrace.runtime.clock import Clock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call

SWEEP_S = 0.005
"""Deadlines are looked at no more often than this, so that many of them cost one look."""


@dataclass(slots=True, eq=False)
class Ticket(Item):
    """A request in the queue: its work, its call, and who waits for it."""

    work: Work
    call: Call
    waiter: "asyncio.Future[Outcome]"


@dataclass(frozen=True, slots=True)
class Batch:
    """An executed batch. `shares` are its CPU nanoseconds split among the requests by their rows."""

    tickets: list[Ticket]
    rows: int
    why: str
    cut_at: float
    executed: Executed
    shares: list[int]


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


class Batcher:
    """Batches the requests of one model onto its instances.

    `observe` is called on the event loop with every executed batch, before its
    waiters are told.
    """

    def __init__(
        self,
        backend: Backend,
        policy: BatchPolicy,
        instances: int,
        clock: Clock,
        observe: Callable[[Batch], None],
    ) -> None:
        self._model = backend.signature.model
        self._policy = policy
        self._queue: BatchQueue[Ticket] = BatchQueue(policy)
        self._clock = clock
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[Cut[Ticket], float] | None] = queue.SimpleQueue()
        self._instances = self._idle = instances
        self._pump_due = False
        self._delay: asyncio.TimerHandle | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_at = 0.0
        self._threads = [
            threading.Thread(target=self._instance, args=(backend,), name=f"{self._model}-{i}", daemon=True)
            for i in range(instances)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def working(self) -> bool:
        """Whether a request waits or is executed."""
        return self._idle < self._instances or len(self._queue) > 0

    async def submit(self, work: Work, call: Call, deadline: float | None) -> Outcome:
        """Waits for the request's answer.

        Raises QUEUE_FULL, DEADLINE_EXCEEDED, EXECUTION_FAILED. A cancelled
        caller leaves the queue at once and touches nobody else in its batch.
        """
        now = self._clock.monotonic()
        if deadline is not None and deadline <= now:
            raise errors.deadline_exceeded("queue")
        bucket = tuple([shape[1:] for shape in work.shapes])
        ticket = Ticket(work.rows, bucket, now, deadline, work, call, self._loop.create_future())
        if not self._queue.offer(ticket):
            raise errors.queue_full(self._model, self._policy.max_queue)
        if deadline is not None:
            self._sweep_by(deadline, now)
        self._pump_soon()
        try:
            return await ticket.waiter
        except asyncio.CancelledError:
            self._queue.withdraw(ticket)
            raise

    async def close(self) -> None:
        """Stops the instances after what they execute; the queue must be empty or is refused."""
        for timer in (self._delay, self._sweep):
            if timer:
                timer.cancel()
        for ticket in list(self._queue):
            self._queue.withdraw(ticket)
            _fail(ticket, errors.model_not_ready(self._model, "UNLOADING"))
        for _ in self._threads:
            self._work.put(None)
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _pump_soon(self) -> None:
        # Once per turn of the loop: requests that were read together are cut together.
        if not self._pump_due and self._idle:
            self._pump_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        now = self._clock.monotonic()
        while self._idle and len(self._queue):
            taken = self._queue.take(now)
            for ticket in taken.expired:
                _fail(ticket, errors.deadline_exceeded("queue"))
            if taken.cut is None:
                self._wait_until_ripe(now)
                return
            self._idle -= 1
            self._work.put((taken.cut, now))

    def _wait_until_ripe(self, now: float) -> None:
        ripe = self._queue.next_ripe()
        if self._delay:
            self._delay.cancel()
            self._delay = None
        if ripe is not None:
            self._delay = self._loop.call_later(max(0.0, ripe - now), self._pump)

    def _sweep_by(self, deadline: float, now: float) -> None:
        if self._sweep and self._sweep_at <= deadline:
            return
        if self._sweep:
            self._sweep.cancel()
        self._sweep_at = deadline
        self._sweep = self._loop.call_later(max(0.0, deadline - now), self._sweep_now)

    def _sweep_now(self) -> None:
        self._sweep = None
        now = self._clock.monotonic()
        for ticket in self._queue.expire(now):
            _fail(ticket, errors.deadline_exceeded("queue"))
        following = self._queue.next_deadline()
        if following is not None:
            self._sweep_by(max(following, now + SWEEP_S), now)

    def _instance(self, backend: Backend) -> None:
        while (job := self._work.get()) is not None:
            self._loop.call_soon_threadsafe(self._done, _executed(backend, *job))
            del job  # or an idle instance would keep its last batch's tensors

    def _done(self, batch: Batch) -> None:
        self._idle += 1
        if len(self._queue):
            self._pump()
        self._observe(batch)
        started_ns, ended_ns = batch.executed.started_ns, batch.executed.ended_ns
        for ticket, answer, cpu_ns in zip(batch.tickets, batch.executed.answers, batch.shares, strict=True):
            if answer is None:
                _fail(ticket, errors.execution_failed(self._model))
            elif not ticket.waiter.done():
                queue_ns = started_ns - int(ticket.arrived * 1e9)
                ticket.waiter.set_result(Outcome(answer, queue_ns, cpu_ns, batch.rows, started_ns, ended_ns))


def _executed(backend: Backend, cut: Cut[Ticket], cut_at: float) -> Batch:
    executed = execute(backend, [ticket.work for ticket in cut.items])
    shares = split_by_rows(executed.cpu_ns, [ticket.rows for ticket in cut.items])
    return Batch(cut.items, cut.rows, cut.why, cut_at, executed, shares)


def _fail(ticket: Ticket, error: HeadraceError) -> None:
    if not ticket.waiter.done():
        ticket.waiter.set_exception(error)
