"""One inference, whichever contract asked for it: gRPC's servicer and the REST bridge call this."""

from dataclasses import dataclass

from headrace.inference import errors
from headrace.inference.batcher import Outcome
from headrace.inference.execution import Answer
from headrace.inference.models import Model, Models
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.runtime.clock import Clock
from headrace.runtime.rpc import Call


@dataclass(slots=True)
class Inference:
    """A finished inference: the answer, and which of its outputs were asked for."""

    model: Model
    answer: Answer
    outputs: tuple[int, ...]


class InferenceService:
    """Validates a request, has it batched, and tells how its time was spent."""

    def __init__(self, models: Models, clock: Clock, replica: str) -> None:
        self._models = models
        self._clock = clock
        self._replica = replica

    async def infer(self, request: ModelInferRequest, call: Call) -> Inference:
        """The answer to one request; the call's trailing metadata gets its timings.

        Raises MODEL_NOT_FOUND, VERSION_NOT_FOUND, MODEL_NOT_READY,
        TENSOR_INVALID, QUEUE_FULL, DEADLINE_EXCEEDED, EXECUTION_FAILED.
        """
        if call.trace_id:
            call.trailing.append(("headrace-trace-id", call.trace_id))
        model = self._models.find(request.model_name, request.model_version)
        if call.span.is_recording():
            call.span.set_attribute("headrace.model", model.name)
        try:
            outcome, outputs = await self._execute(model, request, call)
        except BaseException:  # a cancelled request counts as one that failed; raised on as it is
            model.statistics.failed(self._elapsed_ns(call))
            raise
        total_ns = self._elapsed_ns(call)
        model.statistics.answered(total_ns)
        self._tell_timings(call, outcome, total_ns)
        return Inference(model, outcome.answer, outputs)

    async def _execute(
        self, model: Model, request: ModelInferRequest, call: Call
    ) -> tuple[Outcome, tuple[int, ...]]:
        outputs = model.decoder.outputs(request)
        work = model.decoder.decode(request)
        problem = model.backend.problem(work.values)
        if problem:
            raise errors.tensor_invalid(model.name, "inputs", problem)
        return await model.batcher.submit(work, call, _deadline(request, model, call)), outputs

    def _elapsed_ns(self, call: Call) -> int:
        return int((self._clock.monotonic() - call.arrived) * 1e9)

    def _tell_timings(self, call: Call, outcome: Outcome, total_ns: int) -> None:
        queue_us = max(0, outcome.started_ns // 1000 - int(call.arrived * 1e6))
        call.trailing += (
            ("headrace-queue-us", str(queue_us)),
            ("headrace-compute-us", str((outcome.ended_ns - outcome.started_ns) // 1000)),
            ("headrace-total-us", str(total_ns // 1000)),
            ("headrace-batch-size", str(outcome.batch_rows)),
            ("headrace-replica", self._replica),
        )


def _deadline(request: ModelInferRequest, model: Model, call: Call) -> float:
    """The caller's deadline, or the model's default; parameter `timeout` (microseconds) lowers it."""
    latest = call.arrived + model.timeout_s
    if call.deadline is not None:
        latest = call.deadline
    if "timeout" in request.parameters:
        parameter = request.parameters["timeout"]
        microseconds = parameter.int64_param or parameter.uint64_param
        if microseconds > 0:
            latest = min(latest, call.arrived + microseconds * 1e-6)
    return latest
