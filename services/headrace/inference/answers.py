"""Where an answer comes from: the near-cache, the cache service, or the model.

Only models whose config.pbtxt says `response_cache { enable: true }` are looked
up; a caller opts out with the metadata `cache-control: no-store` (or no-cache).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import Message
from opentelemetry.trace import NoOpTracer, Tracer

from headrace.cache.client import AnswerKeys
from headrace.cache.client import Answers as Cached
from headrace.inference import errors
from headrace.inference.batcher import Outcome
from headrace.inference.batching import NO_PARAMETERS
from headrace.inference.core.coming import Way
from headrace.inference.core.memory import Use
from headrace.inference.execution import Answer, Work
from headrace.inference.models import Model
from headrace.inference.spans import looked_up_near
from headrace.inference.told import EXPLAIN, check_explain
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.metering.client import UsageKind
from headrace.runtime.rpc import Call

NOT_OF_THE_ANSWER = frozenset({"timeout", "priority", EXPLAIN})
"""Parameters that say when an answer is wanted, or how it is told of; not which it is."""

MODEL = ""
"""The level of an answer that no cache was asked for."""

UNTRACED = NoOpTracer()


@dataclass(slots=True)  # not frozen: that would triple the time to make one, and each request makes one
class Asked:
    """A request that was found right: its inputs, its outputs' places, when it is too late."""

    work: Work
    outputs: tuple[int, ...]
    parameters: Mapping[str, str | int | float | bool]
    deadline: float


@dataclass(slots=True)
class Inference:
    """A finished inference.

    `level` is the cache level that had the answer, `miss` where none had, empty
    where none was asked. `outcome` is None where this process's model did not
    work for this request. `stored` is the serialised answer without its id, for
    what a cache may keep. `placed` has the outputs, by their place in the
    signature, that were put into shared memory: their bytes are not in the answer; None for none.
    """

    model: Model
    asked: Asked
    level: str = MODEL
    outcome: Outcome | None = None
    stored: bytes | None = None
    coalesced: bool = False
    placed: Mapping[int, Use] | None = None

    @property
    def answer(self) -> Answer:
        """The outputs as tensors."""
        if self.stored is not None:
            return self.model.encoder.decode(self.stored, self.asked.outputs)
        assert self.outcome is not None, "neither stored nor computed"
        return self.outcome.answer

    @property
    def kind(self) -> UsageKind:
        """What is billed."""
        if self.coalesced:
            return UsageKind.COALESCED
        return UsageKind.CACHED if self.outcome is None else UsageKind.EXECUTED

    @property
    def kept_bytes(self) -> int:
        """What the caches keep because of this request."""
        return len(self.stored) if self.stored is not None and self.outcome is not None else 0

    def encoded(self, request_id: str) -> bytes:
        """The serialised ModelInferResponse; what a cache had is not serialised again."""
        encoder = self.model.encoder
        if self.placed:
            return encoder.encode_placed(request_id, self.answer, self.asked.outputs, self.placed)
        if self.stored is not None:
            return encoder.with_id(request_id, self.stored)
        return encoder.encode(request_id, self.answer, self.asked.outputs)


class Answers:
    """Finds or makes the answers of a replica's models. `cached` is None where no cache is configured."""

    def __init__(
        self,
        cached: Cached | None,
        keys: AnswerKeys | None,
        ttl_s: float = 0.0,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._cached = cached
        self._keys = keys
        self._tracer = tracer
        self.ttl_ms = int(ttl_s * 1000)

    async def answer(self, model: Model, asked: Asked, call: Call) -> Inference:
        """Raises QUEUE_FULL, DEADLINE_INFEASIBLE, DEADLINE_EXCEEDED, EXECUTION_FAILED."""
        if self._cached is None or self._keys is None or not _cacheable(model, call):
            outcome = await model.executor.submit(asked.work, call, asked.deadline)
            return Inference(model, asked, outcome=outcome)
        key = self._key(self._keys, model, asked, call.caller.tenant)
        near = looked_up_near(self._tracer, call, self._cached.near, key)
        if near is not None:
            return Inference(model, asked, "near", stored=near)
        if self._cached.flying(key):  # it needs no look-up of its own, nor a place in a queue
            return await self._found(self._cached, key, model, asked, call)
        tenant, lookups = call.caller.tenant, model.lookups
        refusal = model.executor.refuses(asked.work, call, asked.deadline, lookups.coming.count(tenant))
        overloaded = refusal is not None or model.executor.refusing
        ask = not overloaded or lookups.worth()
        if refusal is not None and not ask:
            raise refusal
        way = lookups.coming.begin(tenant)
        try:
            return await self._found(self._cached, key, model, asked, call, way, ask=ask)
        finally:
            way.end()

    async def _found(
        self,
        cached: Cached,
        key: bytes,
        model: Model,
        asked: Asked,
        call: Call,
        way: Way | None = None,
        *,
        ask: bool = True,
    ) -> Inference:
        async def compute() -> tuple[bytes, Outcome]:
            if way is not None:
                way.end()
            if ask:
                model.lookups.ended(hit=False)
            model.use.enter()  # this caller may leave before others who wait for it
            try:
                # By its own deadline: who can wait longer begins it again (cache/flights.py).
                outcome = await model.executor.submit(asked.work, call, asked.deadline)
            finally:
                model.use.leave()
            return model.encoder.encode("", outcome.answer, asked.outputs), outcome

        found = await cached.find(
            key, call.caller.tenant, model.name, compute, deadline=asked.deadline, span=call.span, ask=ask
        )
        if found.level != "miss":
            model.lookups.ended(hit=True)
        outcome = found.made if isinstance(found.made, Outcome) else None
        return Inference(model, asked, found.level, outcome, found.value, coalesced=found.coalesced)

    def _key(self, keys: AnswerKeys, model: Model, asked: Asked, tenant: str) -> bytes:
        signature, work = model.backend.signature, asked.work
        inputs = [
            (spec.name, spec.datatype, shape, value)
            for spec, shape, value in zip(signature.inputs, work.shapes, work.values, strict=True)
        ]
        outputs = [signature.outputs[place].name for place in asked.outputs]
        prefix = keys.prefix(tenant, model.name, model.digest)
        return keys.key(prefix, inputs, asked.parameters, outputs)


def asked_of(model: Model, request: ModelInferRequest, call: Call) -> Asked:
    """The request, checked; raises TENSOR_INVALID, PARAMETER_INVALID."""
    outputs = model.decoder.outputs(request)
    work = model.decoder.decode(request)
    if model.checks is not None:
        problem = model.checks.problem(work)
        if problem:
            raise errors.tensor_invalid(model.name, "inputs", problem)
    given = request.parameters
    timing = model.timings.of(given or NO_PARAMETERS, call)
    work.level, work.start_by, work.delays = timing.level, timing.start_by, timing.delays
    if not given:
        return Asked(work, outputs, {}, timing.deadline)
    check_explain(model.name, given)
    return Asked(work, outputs, _parameters(request), timing.deadline)


def _cacheable(model: Model, call: Call) -> bool:
    if not model.cacheable:
        return False
    control = str(call.metadata.get("cache-control", "")).lower()  # RFC 9111: in any case
    return "no-store" not in control and "no-cache" not in control


def _parameters(request: ModelInferRequest) -> dict[str, str | int | float | bool]:
    return {
        name: _value(parameter)
        for name, parameter in request.parameters.items()
        if name not in NOT_OF_THE_ANSWER
    }


def _value(parameter: Message) -> str | int | float | bool:
    field = parameter.WhichOneof("parameter_choice")
    value: str | int | float | bool = getattr(parameter, field) if field else ""
    return value
