"""One inference, whichever contract asked for it: gRPC's servicer and the REST bridge call this.

The order is the design's: the request is checked, admitted by the guard's
leases, given space in the outbox, answered, and recorded before the answer leaves.
"""

from collections.abc import Callable, Sized
from typing import Protocol, TypeVar

from opentelemetry.trace import Tracer

from headrace.guard.client import Outcome as Ending
from headrace.guard.client import Permit
from headrace.inference import errors
from headrace.inference.answers import MODEL, Answers, Asked, Inference, asked_of
from headrace.inference.core.flights import Progress
from headrace.inference.load import LoadMeter
from headrace.inference.models import Model, Models
from headrace.inference.spans import guard_span
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.metering.client import Cost, Unmetered, UsageLog, outbox_full
from headrace.runtime.clock import Clock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call

Body = TypeVar("Body", bound=Sized)

NO_EXECUTION = tuple(
    (f"headrace-{name}", "0") for name in ("queue-us", "batch-wait-us", "compute-us", "batch-size")
)
"""The timings of an answer that no batch was executed for."""


class Admission(Protocol):
    """Decides whether a tenant may use a model now. Refusals are HeadraceErrors."""

    def admit(self, tenant: str, model: str) -> Permit | None:
        """A permit, or None where the guard has to be asked."""
        ...

    async def ask(self, tenant: str, model: str, deadline: float | None) -> Permit:
        """A permit, from the guard."""
        ...

    def release(self, permit: Permit, ending: Ending, latency_s: float) -> None:
        """Gives the permit back, once."""
        ...


class InferenceService:
    """Validates a request, has it admitted and answered, and tells how its time and money were spent."""

    def __init__(
        self,
        models: Models,
        answers: Answers,
        admission: Admission,
        log: UsageLog | Unmetered,
        load: LoadMeter,
        tracer: Tracer,
        clock: Clock,
        replica: str,
    ) -> None:
        self._models = models
        self._answers = answers
        self._admission = admission
        self._log = log
        self._load = load
        self._tracer = tracer
        self._clock = clock
        self._replica = replica

    async def infer(self, request: ModelInferRequest, call: Call, write: Callable[[Inference], Body]) -> Body:
        """The answer to one request as `write` puts it; the call's trailing metadata tells of it.

        Raises MODEL_NOT_FOUND, VERSION_NOT_FOUND, MODEL_NOT_READY,
        TENSOR_INVALID, PARAMETER_INVALID, IDEMPOTENCY_KEY_INVALID, the guard's refusals,
        USAGE_OUTBOX_FULL, QUEUE_FULL, DEADLINE_INFEASIBLE, DEADLINE_EXCEEDED, EXECUTION_FAILED.
        """
        if call.trace_id:
            call.trailing.append(("headrace-trace-id", call.trace_id))
        model = self._models.find(request.model_name, request.model_version)
        call.progress = Progress(model.name)
        if call.span.is_recording():
            call.span.set_attribute("headrace.model", model.name)
            call.span.set_attribute("headrace.tenant", call.caller.tenant)
        model.use.enter()  # no await since it was found: a reload closes it behind this request
        try:
            body = await self._admitted(model, _checked(model, request, call), call, write)
        except BaseException as error:  # a cancelled request counts as one that failed; raised on as it is
            model.statistics.failed(self._elapsed_ns(call), error)
            raise
        finally:
            model.use.leave()
        model.statistics.answered(self._elapsed_ns(call))
        return body

    async def _admitted(
        self, model: Model, asked: Asked, call: Call, write: Callable[[Inference], Body]
    ) -> Body:
        admission, tenant = self._admission, call.caller.tenant
        permit = admission.admit(tenant, model.name)
        if permit is None:
            with guard_span(self._tracer, call):
                permit = await admission.ask(tenant, model.name, asked.deadline)
        call.progress.admitted = self._clock.monotonic()
        # A caller's mistake or leave says nothing of the model, nor does a cache's answer.
        ending = Ending.IGNORED
        try:
            if not self._log.reserve():
                raise outbox_full()
            done, body = await self._answered(model, asked, call, write)
            if done.outcome is not None:
                ending = Ending.SUCCESS
            return body
        except HeadraceError as error:
            if error.reason == errors.EXECUTION_FAILED:
                ending = Ending.FAILURE
            raise
        finally:
            admission.release(permit, ending, self._clock.monotonic() - call.arrived)

    async def _answered(
        self, model: Model, asked: Asked, call: Call, write: Callable[[Inference], Body]
    ) -> tuple[Inference, Body]:
        """The answer, recorded; gives the reserved space back when there is none."""
        try:
            done = await self._answers.answer(model, asked, call)
        except BaseException:  # raised on as it is
            self._log.cancel()
            raise
        size = 0
        try:
            body = write(done)
            size = len(body)
        finally:  # what was computed is charged, also where the answer finds no place
            self._record(model, asked, call, done, size)
        return done, body

    def _record(self, model: Model, asked: Asked, call: Call, done: Inference, size: int) -> None:
        outcome = done.outcome
        cost = model.usage.answered(
            call,
            asked.work,
            done.kind,
            cpu_ns=0 if outcome is None else outcome.cpu_ns,
            response_bytes=size,
            stored_bytes=done.kept_bytes,
            stored_ms=self._answers.ttl_ms,
        )
        self._tell(call, done, cost)

    def _elapsed_ns(self, call: Call) -> int:
        return int((self._clock.monotonic() - call.arrived) * 1e9)

    def _tell(self, call: Call, done: Inference, cost: Cost | None) -> None:
        outcome, trailing = done.outcome, call.trailing
        if outcome is None:
            trailing += NO_EXECUTION
        else:
            trailing += (
                ("headrace-queue-us", str(outcome.queue_ns // 1000)),
                ("headrace-batch-wait-us", str(outcome.wait_ns // 1000)),
                ("headrace-compute-us", str((outcome.ended_ns - outcome.started_ns) // 1000)),
                ("headrace-batch-size", str(outcome.batch_rows)),
                ("headrace-batch-position", str(outcome.position)),
            )
        call.progress.cache = done.level
        if done.level != MODEL:
            trailing.append(("headrace-cache", done.level))
            done.model.statistics.looked_up(self._elapsed_ns(call), hit=done.level != "miss")
        if cost is not None:
            call.progress.cost = cost.total
            trailing += (("headrace-cost-nanos", str(cost.total)), ("headrace-currency", cost.currency))
        trailing += (
            ("headrace-total-us", str(self._elapsed_ns(call) // 1000)),
            ("headrace-replica", self._replica),
        )
        self._load.tell(call)


def _checked(model: Model, request: ModelInferRequest, call: Call) -> Asked:
    """The request, found right; raises what is wrong with it. It has cost nobody anything so far."""
    asked = asked_of(model, request, call)
    problem = model.backend.problem(asked.work.values)
    if problem:
        raise errors.tensor_invalid(model.name, "inputs", problem)
    model.usage.bind(call, asked.work)
    return asked
