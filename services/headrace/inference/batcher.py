"""The shell around one model's queue: futures, timers and instance threads.

It asks `core/queue.py` what to do and does it. Whole batches and their results
cross the thread boundary, never a future per request; an instance is one thread.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Mapping
from math import inf

from headrace.inference import errors
from headrace.inference.backend import Backend
from headrace.inference.batch import Batch, Job, Outcome, Ticket, Unpaid, executed
from headrace.inference.core.costs import CostCurve
from headrace.inference.core.cutting import Refusal
from headrace.inference.core.gathering import Gathering
from headrace.inference.core.history import History
from headrace.inference.core.levels import Depth
from headrace.inference.core.padding import length_class
from headrace.inference.core.policy import BatchPolicy
from headrace.inference.core.queue import BatchQueue
from headrace.inference.core.slots import FREELY
from headrace.inference.endings import Endings
from headrace.inference.execution import Work
from headrace.inference.lengths import Lengths, RaggedInputs
from headrace.inference.slots import OwnSlots, Slots, Woken
from headrace.inference.sweep import Sweep
from headrace.runtime.clock import Clock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call

__all__ = ["Batch", "Batcher", "Outcome", "Ticket"]


class Batcher:
    """Batches the requests of one model onto its instances.

    `observe` is called on the event loop with every executed batch, before its
    waiters are told, `unpaid` with what only its caller's leave kept from being
    answered after that. `weights` has the tenants whose weight is not 1, `lengths`
    measures the requests of a model that pads them, `slots` are shared with other replicas.
    """

    def __init__(
        self,
        backend: Backend,
        policy: BatchPolicy,
        instances: int,
        clock: Clock,
        observe: Callable[[Batch], None],
        weights: Mapping[str, float] | None = None,
        lengths: Lengths | None = None,
        unpaid: Unpaid = lambda *_: None,
        slots: Callable[[Woken], Slots] = lambda _: OwnSlots(),
    ) -> None:
        self._model = backend.signature.model
        self.policy = policy
        self.history = History()
        self._queue: BatchQueue[Ticket] = BatchQueue(policy, instances, weights)
        self._endings = Endings(self._model, self.history.counts, ordered=policy.ordered)
        self._fixed = all(size >= 0 for spec in backend.signature.inputs for size in spec.dims)
        self._lengths = lengths
        self._axes = lengths.axes if isinstance(lengths, RaggedInputs) else ()
        self._clock = clock
        self._observe, self._unpaid = observe, unpaid
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.instances = self._idle = instances
        self._free_since = clock.monotonic()
        self._pump_due = False
        self._gathering = Gathering(policy.max_batch_size)
        self._delay: asyncio.TimerHandle | None = None
        self._sweep = Sweep(clock, self._swept)
        self._slots = slots(self._woken)
        self._threads = [
            threading.Thread(target=self._instance, args=(backend, i), name=f"{self._model}-{i}", daemon=True)
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
        return self._idle < self.instances or len(self._queue) > 0

    @property
    def busy(self) -> bool:
        """Whether every instance executes a batch."""
        return not self._idle

    def curves(self) -> list[tuple[str, CostCurve]]:
        """What batches cost, by shape; the one with most batches first."""
        groups = [(str(bucket), group.curve) for bucket, group in self._queue.groups.items()]
        return sorted(groups, key=lambda entry: -entry[1].count)

    def depths(self) -> list[Depth]:
        """Who waits."""
        return self._queue.depths()

    @property
    def refusing(self) -> bool:
        """Whether a request was refused for its deadline just before."""
        return self._queue.refusing(self._clock.monotonic())

    def refuses(
        self, work: Work, call: Call, deadline: float | None, coming: int = 0
    ) -> HeadraceError | None:
        """What `submit` would raise while requests are refused for their deadlines; None for nothing."""
        now = self._clock.monotonic()
        if not self._queue.refusing(now):
            return None
        refusal = self._queue.refuses(self._ticket(work, call, now, deadline), coming)
        return None if refusal is None else self._refused(refusal, work)

    async def submit(self, work: Work, call: Call, deadline: float | None) -> Outcome:
        """Waits for the request's answer.

        Raises QUEUE_FULL, DEADLINE_INFEASIBLE, DEADLINE_EXCEEDED, EXECUTION_FAILED.
        A cancelled caller leaves the queue at once and touches nobody else in its batch.
        """
        now = self._clock.monotonic()
        if (deadline is not None and deadline <= now) or (work.start_by <= now and not work.delays):
            raise errors.deadline_exceeded("queue")
        ticket = self._ticket(work, call, now, deadline)
        refusal = self._queue.offer(ticket)
        if refusal is not None:
            raise self._refused(refusal, work)
        work.tag = ticket.number
        self._endings.expect(ticket)
        if ticket.due < inf:
            self._sweep.by(ticket.due, now)
        self._pump_soon()
        try:
            return await ticket.waiter
        except asyncio.CancelledError:
            if self._queue.withdraw(ticket):
                self.history.counts.left += 1
                self._endings.end(ticket)
            else:
                ticket.told_in_vain(work, self._unpaid)
            raise

    def _ticket(self, work: Work, call: Call, now: float, deadline: float | None) -> Ticket:
        length, lengths = 1, self._lengths
        if lengths is not None:
            bucket, length = lengths.bucket(work), lengths.length(work)
        else:
            bucket = () if self._fixed else tuple([shape[1:] for shape in work.shapes])
        return Ticket(
            work.rows,
            bucket,
            now,
            deadline,
            work,
            call,
            self._loop.create_future(),
            tenant=call.caller.tenant,
            level=work.level,
            length=length,
            length_class=length_class(length) if length > 1 else 0,
            start_by=work.start_by,
            delays=work.delays,
        )

    def _refused(self, refusal: Refusal, work: Work) -> HeadraceError:
        counts = self.history.counts
        if refusal.full:
            counts.refused_full += 1
            return errors.queue_full(self._model, self._queue.policy.queues()[work.level - 1].max_queue)
        counts.refused_infeasible += 1
        return errors.deadline_infeasible(self._model, refusal.retry_after_s)

    async def close(self) -> None:
        """Stops the instances after what they execute; the queue must be empty or is refused."""
        self._sweep.close()
        if self._delay:
            self._delay.cancel()
        for ticket in list(self._queue):
            self._queue.withdraw(ticket)
            self._endings.end(ticket, errors.model_not_ready(self._model, "UNLOADING"))
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._slots.close()

    def _pump_soon(self) -> None:
        # Once per turn of the loop: requests that were read together are cut together.
        if not self._pump_due and self._idle and not self._slots.waiting:
            self._pump_due = True
            self._gathering.begin()
            self._loop.call_soon(self._gather)

    def _gather(self) -> None:
        if self._gathering.more(len(self._queue)):
            self._loop.call_soon(self._gather)
        else:
            self._pump()

    def _pump(self) -> None:
        self._pump_due = False
        now = self._clock.monotonic()
        while self._idle and len(self._queue):
            # Before the batch is cut: what comes while a slot is waited for is in it, and no second queue is.
            grant = FREELY if self._gathering.quick else self._slots.take(now)
            if grant is None:
                return
            taken = self._queue.take(now)
            self._expire(taken.expired)
            if taken.cut is None:
                self._slots.give(grant, now)
                self._wait_until_ripe(now)
                return
            self._idle -= 1
            self.history.counts.granted(grant, now)
            self._work.put(Job(taken.cut, now, self._free_since, grant))
            if grant.asked_at < now:  # whom this batch had no room for has waited for the slot, too
                self._free_since = now

    def _woken(self) -> None:
        if self._gathering.quick or not self._idle or not len(self._queue):
            self._slots.leave()
        self._pump()

    def _wait_until_ripe(self, now: float) -> None:
        ripe = self._queue.next_ripe()
        if self._delay:
            self._delay.cancel()
            self._delay = None
        if ripe is not None:
            self._delay = self._loop.call_later(max(0.0, ripe - now), self._pump)

    def _swept(self, now: float) -> float | None:
        self._expire(self._queue.expire(now))
        return self._queue.next_due()

    def _expire(self, late: list[Ticket]) -> None:
        self.history.counts.expired += len(late)
        for ticket in late:
            self._endings.end(ticket, errors.deadline_exceeded("queue"))

    def _instance(self, backend: Backend, number: int) -> None:
        while (job := self._work.get()) is not None:
            batch = executed(backend, job, self._axes, number)
            self._slots.give(job.grant, self._clock.monotonic(), batch.took_s)
            self._loop.call_soon_threadsafe(self._done, batch)
            del job, batch  # or an idle instance would keep its last batch's tensors

    def _done(self, batch: Batch) -> None:
        now = self._clock.monotonic()
        if not self._idle:
            self._free_since = now
        self._idle += 1
        try:  # whatever goes wrong with the next batch, this one's callers are told
            self._next_after(batch, now)
        finally:
            self._endings.executed(batch)

    def _next_after(self, batch: Batch, now: float) -> None:
        done = batch.executed
        self._queue.completed(batch.cut, batch.seconds, now - batch.cut_at - batch.took_s)
        if done.runs:
            self._gathering.took(batch.took_s)
        if len(self._queue):
            self._pump_soon() if self._gathering.quick else self._pump()
        if batch.tickets:
            self._observe(batch)
            failed = done.answers.count(None)
            self.history.add(batch.past(), failed=failed, cells=done.cells, padded=done.padded)
