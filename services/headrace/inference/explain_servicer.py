"""headrace.inference.v1.ExplainService: decode, call, encode."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.inference import errors
from headrace.inference.core.costs import CostCurve
from headrace.inference.core.history import KEPT, Counts, PastBatch
from headrace.inference.core.levels import Depth
from headrace.inference.core.policy import BatchPolicy
from headrace.inference.models import Models
from headrace.inference.v1 import explain_service_pb2, explanation_pb2
from headrace.inference.v1.explain_service_pb2 import ExplainModelRequest, ExplainModelResponse
from headrace.runtime.access import OBSERVE, OPERATE
from headrace.runtime.clock import Clock
from headrace.runtime.rpc import Call, Caller

SERVICE = explain_service_pb2.DESCRIPTOR.services_by_name["ExplainService"]
SCOPES = {f"/{SERVICE.full_name}/{method.name}": OBSERVE for method in SERVICE.methods}

DEFAULT_BATCHES = 20
MAX_CURVES = 16
MAX_QUEUES = 100
OTHERS = "(others)"


class ExplainServicer:
    """Tells why the models of a replica are batched as they are."""

    def __init__(self, models: Models, clock: Clock, replica: str) -> None:
        self._models = models
        self._clock = clock
        self._replica = replica

    async def ExplainModel(self, request: ExplainModelRequest, call: Call) -> ExplainModelResponse:
        if not 0 <= request.batches <= KEPT:
            raise errors.field_invalid("batches", f"must be between 0 and {KEPT}")
        model = self._models.find(request.model, request.version)
        batcher = model.executor
        past = batcher.history.last(request.batches or DEFAULT_BATCHES)
        epoch_ns = self._clock.time_ns() - int(self._clock.monotonic() * 1e9)
        return ExplainModelResponse(
            explanation=explanation_pb2.ModelExplanation(
                model=model.name,
                version=model.version,
                replica=self._replica,
                rules=_rules(batcher.policy, batcher.instances),
                curves=[_curve(shape, curve) for shape, curve in batcher.curves()[:MAX_CURVES]],
                queues=map(_depth, visible(batcher.depths(), call.caller)[:MAX_QUEUES]),
                counts=_counts(batcher.history.counts),
                batches=[_batch(one, epoch_ns) for one in past],
                steps=[step.name for step in model.steps],
            )
        )


def visible(depths: list[Depth], caller: Caller) -> list[Depth]:
    """Who does not operate the mesh sees other tenants as one, a row a level."""
    if OPERATE in caller.scopes:
        return depths
    shown = [depth for depth in depths if depth.tenant == caller.tenant]
    others: dict[float, Depth] = {}
    for depth in depths:
        if depth.tenant != caller.tenant:
            sums = others.get(depth.rank, Depth(depth.rank, OTHERS, 0, 0.0, 0.0))
            others[depth.rank] = Depth(
                depth.rank,
                OTHERS,
                sums.requests + depth.requests,
                sums.cost_s + depth.cost_s,
                sums.weight + depth.weight,
            )
    return sorted([*shown, *others.values()], key=lambda depth: depth.rank)


def _rules(policy: BatchPolicy, instances: int) -> explanation_pb2.BatchRules:
    return explanation_pb2.BatchRules(
        max_batch_size=policy.max_batch_size,
        max_delay=_duration(policy.max_delay_s),
        eager=policy.eager,
        preferred_batch_sizes=policy.preferred,
        instances=instances,
        max_padding_share=policy.padding,
        priority_levels=len(policy.queues()),
    )


def _curve(shape: str, curve: CostCurve) -> explanation_pb2.CostCurve:
    return explanation_pb2.CostCurve(
        shape=shape,
        batches=curve.count,
        known=curve.known,
        error=curve.error,
        base=_duration(curve.base_s),
        unit=_duration(curve.slope_s),
        largest_units=curve.cap,
        sizes=[
            explanation_pb2.MeasuredSize(units=one.size, batches=one.count, unit=_duration(one.unit_s))
            for _, one in sorted(curve.bins.items())
        ],
    )


def _depth(depth: Depth) -> explanation_pb2.QueueDepth:
    return explanation_pb2.QueueDepth(
        priority=int(depth.rank),
        delayed=not float(depth.rank).is_integer(),
        tenant=depth.tenant,
        requests=depth.requests,
        cost=_duration(depth.cost_s),
        weight=depth.weight,
    )


def _counts(counts: Counts) -> explanation_pb2.BatchCounts:
    return explanation_pb2.BatchCounts(
        batches=counts.batches,
        executed=counts.executed,
        failed=counts.failed,
        refused_full=counts.refused_full,
        refused_infeasible=counts.refused_infeasible,
        expired=counts.expired,
        left=counts.left,
        mixed_up=counts.mixed_up,
        padding_share=counts.padding,
    )


def _batch(batch: PastBatch, epoch_ns: int) -> explanation_pb2.BatchRecord:
    cut_ns = epoch_ns + int(batch.cut_at * 1e9)
    return explanation_pb2.BatchRecord(
        cut_time=Timestamp(seconds=cut_ns // 10**9, nanos=cut_ns % 10**9),
        cut=batch.why,
        bound=batch.bound,
        rows=batch.rows,
        requests=batch.requests,
        tenants=batch.tenants,
        waited=_duration(batch.waited_s),
        predicted=_duration(batch.predicted_s),
        took=_duration(batch.took_s),
        padding_share=batch.padding,
        runs=batch.runs,
    )


def _duration(seconds: float) -> Duration:
    ns = max(0, round(seconds * 1e9))
    return Duration(seconds=ns // 10**9, nanos=ns % 10**9)
