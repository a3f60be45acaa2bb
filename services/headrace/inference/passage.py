"""One request's way through an ensemble: the tensors that there are so far, and what they cost.

All steps together are one charge. A step whose caller has left may still run:
the charge is made when the last of those has ended, with what each used.
"""

from asyncio import CancelledError
from collections.abc import Callable, Sequence

from headrace.inference.batch import Outcome
from headrace.inference.core.coming import Way
from headrace.inference.execution import Answer, Work
from headrace.inference.member import Tensor
from headrace.metering.client import UsageKind
from headrace.runtime.rpc import Call

Bill = Callable[[Call, Work, UsageKind, int], None]
"""(call, work, how it ended, CPU nanoseconds): charges a request that gets no answer."""


class Passage:
    """Used on the event loop only. What the queues of its steps tell it is `execution.Part`.

    `entered` is the monotonic time at which it began, `ways` are those to its steps.
    """

    __slots__ = (
        "_bill",
        "_ended_ns",
        "_ending",
        "_longest",
        "_open",
        "call",
        "compute_ns",
        "cpu_ns",
        "deadline",
        "entered",
        "queue_ns",
        "tensors",
        "wait_ns",
        "ways",
        "work",
    )

    def __init__(
        self, work: Work, call: Call, deadline: float | None, tensors: dict[str, Tensor], bill: Bill
    ) -> None:
        self.work = work
        self.call = call
        self.deadline = deadline
        self.tensors = tensors
        self.entered = 0.0
        self.ways: Sequence[Way] = ()
        self.queue_ns = self.wait_ns = self.compute_ns = self.cpu_ns = 0
        self._ended_ns = 0
        self._longest: Outcome | None = None
        self._bill = bill
        self._open = 0
        self._ending: UsageKind | None = None

    def begins(self) -> None:
        """A step goes to its queue."""
        self._open += 1

    def took(self, outcome: Outcome) -> None:
        """A step has its answer."""
        self._open -= 1
        self.queue_ns += outcome.queue_ns
        self.wait_ns += outcome.wait_ns
        self.compute_ns += outcome.ended_ns - outcome.started_ns
        self.cpu_ns += outcome.cpu_ns
        self._ended_ns = max(self._ended_ns, outcome.ended_ns)
        if self._longest is None or _length(outcome) > _length(self._longest):
            self._longest = outcome

    def spent(self, cpu_ns: int) -> None:
        """CPU of a step that has no answer, or none that anybody waits for."""
        self.cpu_ns += cpu_ns

    def left(self) -> None:
        """A step has ended without an answer that anybody waits for."""
        self._open -= 1
        self._charge()

    def fails(self, error: BaseException) -> None:
        """No answer will leave. Whatever was used so far is charged, once."""
        self._ending = UsageKind.CANCELLED if isinstance(error, CancelledError) else UsageKind.FAILED
        self._charge()

    def outcome(self, answer: Answer) -> Outcome:
        """All steps as one execution: their times add up, the batch is that of the step that took longest."""
        longest = self._longest
        assert longest is not None, "an ensemble has a step"
        return Outcome(
            answer,
            self.queue_ns,
            self.cpu_ns,
            longest.batch_rows,
            self._ended_ns - self.compute_ns,
            self._ended_ns,
            self.wait_ns,
            longest.position,
        )

    def _charge(self) -> None:
        if self._ending is None or self._open or not self.cpu_ns:
            return
        self._bill(self.call, self.work, self._ending, self.cpu_ns)
        self.cpu_ns = 0


def _length(outcome: Outcome) -> int:
    return outcome.ended_ns - outcome.started_ns
