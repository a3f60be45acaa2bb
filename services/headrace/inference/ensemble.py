"""The shell around an ensemble's graph: sends each step to its own model's queue as soon as its inputs are there.

A step waits and is batched there like any other request of that model. The
caller's deadline, priority, tenant and leave hold in each of them.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf

import structlog
from opentelemetry.context import Context
from opentelemetry.trace import Tracer, set_span_in_context

from headrace.inference import errors
from headrace.inference.batch import Outcome
from headrace.inference.core.coming import Coming
from headrace.inference.core.costs import CostCurve
from headrace.inference.core.graph import Flow, Graph, chain
from headrace.inference.core.history import History
from headrace.inference.core.levels import Depth
from headrace.inference.core.policy import BatchPolicy
from headrace.inference.execution import Answer, Work
from headrace.inference.holding import Holding
from headrace.inference.member import Member, Tensor, taken, together_problem
from headrace.inference.passage import Bill, Passage
from headrace.runtime.clock import Clock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call

log = structlog.get_logger(__name__)

LEARNING = 1 / 16
"""Weight of the newest request's way to a step."""


@dataclass(frozen=True, slots=True)
class Around:
    """What an ensemble tells, and to whom. `passed` is called with each request that was answered."""

    clock: Clock
    tracer: Tracer
    bill: Bill
    passed: Callable[[Passage], None]


class Ensemble:
    """Executes the requests of one ensemble.

    `most` requests are in it at once, one more is refused; of each step at most
    `step_most` (0: as many as are in it), the others wait before it.
    """

    def __init__(
        self, graph: Graph, members: Sequence[Member], around: Around, *, most: int, step_most: int
    ) -> None:
        self.policy = BatchPolicy(max_batch_size=max(1, graph.signature.max_batch_size), max_queue=most)
        self.history = History()
        self.instances = 0
        self._name = graph.signature.model
        self._inputs = [spec.name for spec in graph.signature.inputs]
        self._outputs = [spec.name for spec in graph.signature.outputs]
        self._members = members
        self._followers = graph.followers()
        self._chain = chain(self._followers)
        following = [members[place] for place in self._chain[1:]]
        self._holdings = [*(Holding(member.executor) for member in following), None]
        self._around = around
        self._most = most
        self._gates = [asyncio.Semaphore(step_most) for _ in members] if step_most else []
        self._rooms = [
            sum(queue.max_queue for queue in member.executor.policy.queues()) for member in members
        ]
        self._coming = [Coming() for _ in members]
        self._leads = [0.0] * len(members)
        self._last: dict[int, list[tuple[int, ...]]] = {}
        self._at_gates = 0
        self._inside = 0

    @property
    def waiting(self) -> int:
        """Requests before a step that has as many as it may; those in its queue are its own."""
        return self._at_gates

    @property
    def working(self) -> bool:
        """Whether a request is in it."""
        return self._inside > 0

    @property
    def busy(self) -> bool:
        """Never: its steps may be."""
        return False

    def curves(self) -> list[tuple[str, CostCurve]]:
        """None: its steps have theirs."""
        return []

    def depths(self) -> list[Depth]:
        """None: its steps have theirs."""
        return []

    async def close(self) -> None:
        """Nothing runs here."""

    @property
    def refusing(self) -> bool:
        """Whether a step's queue refused a request for its deadline just before."""
        return any(member.executor.refusing for member in self._members)

    def refuses(
        self, work: Work, call: Call, deadline: float | None, coming: int = 0
    ) -> HeadraceError | None:
        """What a step's queue would refuse it for now; the sizes of what is not there yet are the last request's.

        Under overload a step's queue is as long as deadlines allow: who is on the way to it counts as if it waited there.
        """
        if self._inside >= self._most:
            self.history.counts.refused_full += 1
            return errors.queue_full(self._name, self._most)
        for place, room in enumerate(self._rooms):
            if self._members[place].executor.waiting >= room:
                return errors.of_step(errors.queue_full(self._members[place].name, room), self._name, place)
        now, tenant = self._around.clock.monotonic(), call.caller.tenant
        for place, shapes in self._last.items():
            member = self._members[place]
            waits = member.timings.of_step(work.level, work.start_by, now)
            by = None if deadline is None else deadline - self._leads[place]
            step = Work(work.rows, shapes, [], *waits)
            behind = coming + self._coming[place].count(tenant)
            refusal = member.executor.refuses(step, call, by, behind)
            if refusal is not None:
                return errors.of_step(refusal, self._name, place)
        return None

    async def submit(self, work: Work, call: Call, deadline: float | None) -> Outcome:
        """Waits until every step has ended.

        Raises QUEUE_FULL, and what the queues of its steps raise, with the step.
        What one step raises ends the others, and no further one is begun.
        """
        refusal = self.refuses(work, call, deadline)
        if refusal is not None:
            raise refusal
        counts = self.history.counts
        tensors: dict[str, Tensor] = dict(
            zip(self._inputs, zip(work.shapes, work.values, strict=True), strict=True)
        )
        passage = Passage(work, call, deadline, tensors, self._around.bill)
        passage.entered = self._around.clock.monotonic()
        passage.ways = [coming.begin(call.caller.tenant) for coming in self._coming]
        self._inside += 1
        try:
            await self._pass(passage)
        except BaseException as error:  # raised on as it is
            counts.left += isinstance(error, asyncio.CancelledError)
            counts.failed += isinstance(error, HeadraceError) and error.reason == errors.EXECUTION_FAILED
            passage.fails(error)
            raise
        finally:
            self._inside -= 1
            for way in passage.ways:
                way.end()
        counts.executed += 1
        self._around.passed(passage)
        return passage.outcome(_answer(passage, self._outputs))

    async def _pass(self, passage: Passage) -> None:
        if self._chain:  # no task for each step: this is what most ensembles are
            for place, holding in zip(self._chain, self._holdings, strict=True):
                if holding is not None:
                    await holding.wait()
                await self._step(passage, place)
            return
        flow = Flow(self._followers)

        async def run(place: int) -> None:
            await self._step(passage, place)
            for following in flow.finished(place):
                tasks.create_task(run(following))

        try:
            async with asyncio.TaskGroup() as tasks:
                for place in flow.begin():
                    tasks.create_task(run(place))
        except BaseExceptionGroup as group:
            raise _first(group) from None

    async def _step(self, passage: Passage, place: int) -> None:
        member = self._members[place]
        try:
            with self._traced(passage.call, member, place) as call:
                work = self._work(passage, place)
                if self._gates:
                    outcome = await self._behind_gate(passage, place, work, call)
                else:
                    outcome = await self._submit(passage, member, work, call)
        except HeadraceError as error:
            raise errors.of_step(error, self._name, place) from None
        passage.took(outcome)
        shapes, values = outcome.answer.shapes, outcome.answer.values
        for output, tensor in member.gives:
            passage.tensors[tensor] = shapes[output], values[output]

    async def _submit(self, passage: Passage, member: Member, work: Work, call: Call) -> Outcome:
        passage.begins()
        try:
            return await member.executor.submit(work, call, passage.deadline)
        except HeadraceError:
            passage.left()
            raise

    async def _behind_gate(self, passage: Passage, place: int, work: Work, call: Call) -> Outcome:
        gate = self._gates[place]
        latest = min(inf if passage.deadline is None else passage.deadline, work.start_by)
        self._at_gates += 1
        try:
            within = None if latest == inf else max(0.0, latest - self._around.clock.monotonic())
            async with asyncio.timeout(within):
                await gate.acquire()
        except TimeoutError:
            raise errors.deadline_exceeded("queue") from None
        finally:
            self._at_gates -= 1
        try:
            return await self._submit(passage, self._members[place], work, call)
        finally:
            gate.release()

    def _work(self, passage: Passage, place: int) -> Work:
        """The step as a request of its model; what another step gave is looked at as a caller's tensors are."""
        member = self._members[place]
        shapes, values, problem = taken(member, passage.tensors)
        signature, asked = member.signature, passage.work
        rows = shapes[0][0] if signature.batches and shapes[0] else 1
        now = self._around.clock.monotonic()
        passage.ways[place].end()
        self._leads[place] += LEARNING * (now - passage.entered - self._leads[place])
        level, start_by, delays = member.timings.of_step(asked.level, asked.start_by, now)
        work = Work(rows, shapes, values, level, start_by, delays, part=passage)
        if not problem and not member.at_entry:
            problem = together_problem(member, work) or member.face.problem(work.values)
        if not problem:
            self._last[place] = shapes
            return work
        if member.from_steps:
            log.error("a step's output is no input", ensemble=self._name, model=member.name, problem=problem)
            raise errors.execution_failed(member.name)
        raise errors.tensor_invalid(member.name, "inputs", problem)

    @contextmanager
    def _traced(self, call: Call, member: Member, place: int) -> Iterator[Call]:
        """The call as the step's queue is to see it: its batch is linked with the step's own span."""
        if not call.span.is_recording():
            yield call
            return
        span = self._around.tracer.start_span(
            f"step {member.name}",
            context=set_span_in_context(call.span, Context()),
            attributes={"headrace.model": member.name, "headrace.step": place},
        )
        try:
            yield replace(call, span=span)
        finally:
            span.end()


def _answer(passage: Passage, outputs: Sequence[str]) -> Answer:
    found = [passage.tensors[name] for name in outputs]
    return Answer([shape for shape, _ in found], [value for _, value in found])  # type: ignore[misc]  # of steps


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to answer with: one that the caller may be told, if there is one."""
    told, others = group.split(HeadraceError)
    return (told or others or group).exceptions[0]
