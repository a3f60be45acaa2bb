"""Inference on tensors in shared memory: fetches a request's inputs from there, and puts its outputs there.

As Triton has it: an input or a requested output whose parameters name a region
is not in the message. What is fetched is from then on like what was sent: the
same checks, the same cache key, the same bill. A request without such a tensor
is passed on as it is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence, Sized
from math import prod
from typing import Protocol, TypeVar

from headrace.inference.answers import Inference
from headrace.inference.core.memory import BYTE_SIZE, OFFSET, REGION, Use
from headrace.inference.core.tensors import BYTES, DTYPES
from headrace.inference.errors import memory_busy, tensor_invalid
from headrace.inference.models import Model, Models
from headrace.inference.regions import RegionProblem, Regions
from headrace.inference.v2.grpc_service_pb2 import InferParameter, ModelInferRequest
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call

Tensor = ModelInferRequest.InferInputTensor | ModelInferRequest.InferRequestedOutputTensor
Body = TypeVar("Body", bound=Sized)
Write = Callable[[Inference], Body]

FIELDS = {"region": REGION, "key": REGION, "byte_size": BYTE_SIZE, "offset": OFFSET}


class Inferring(Protocol):
    """Answers a request."""

    def infer(self, request: ModelInferRequest, call: Call, write: Write[Body]) -> Awaitable[Body]:
        """The answer as `write` puts it; see `InferenceService.infer`."""
        ...


class SharedMemory:
    """Resolves shared memory for `inner`.

    A request may use `max_request_bytes` of it, as it may send; all requests
    together `max_bytes` at a time.
    """

    def __init__(
        self, inner: Inferring, models: Models, regions: Regions, *, max_request_bytes: int, max_bytes: int
    ) -> None:
        self._inner = inner
        self._models = models
        self._regions = regions
        self._max_request_bytes = max_request_bytes
        self._max_bytes = max_bytes
        self._held = 0

    def infer(self, request: ModelInferRequest, call: Call, write: Write[Body]) -> Awaitable[Body]:
        """As `inner`; raises TENSOR_INVALID for a region that can't be used, OVERLOADED besides."""
        if _names_region(request.inputs) or _names_region(request.outputs):
            return self._resolved(request, call, write)
        return self._inner.infer(request, call, write)

    async def _resolved(self, request: ModelInferRequest, call: Call, write: Write[Body]) -> Body:
        model = self._models.find(request.model_name, request.model_version)
        inputs = _uses(model.name, "inputs", request.inputs)
        outputs = _uses(model.name, "outputs", request.outputs)
        size = self._size(model, request, inputs, outputs)
        if self._held + size > self._max_bytes:
            raise memory_busy(self._max_bytes)
        self._held += size
        try:
            found = await asyncio.to_thread(self._fetched, model.name, call.caller.tenant, inputs, outputs)
            whole = _whole(model.name, request, found)
            return await self._inner.infer(
                whole, call, lambda done: write(self._placed(done, call.caller.tenant, outputs))
            )
        finally:
            self._held -= size

    def _size(
        self, model: Model, request: ModelInferRequest, inputs: Mapping[int, Use], outputs: Mapping[int, Use]
    ) -> int:
        """The bytes of all uses, found to be neither too many nor too few."""
        size = sum(use.byte_size for use in (*inputs.values(), *outputs.values()))
        if size > self._max_request_bytes:
            problem = f"expected at most {self._max_request_bytes} bytes in all of a request, got {size}"
            raise tensor_invalid(model.name, BYTE_SIZE, problem)
        for i, use in outputs.items():
            least = _least_bytes(model, request, request.outputs[i].name)
            if use.byte_size < least:
                problem = f"expected at least {least}, got {use.byte_size}"
                raise _invalid(model.name, RegionProblem("byte_size", problem, use.field))
        return size

    def _fetched(
        self, model: str, tenant: str, inputs: Mapping[int, Use], outputs: Mapping[int, Use]
    ) -> dict[int, bytes]:
        """The inputs' bytes, once it is known that the outputs have their place. Blocks."""
        try:
            self._regions.check(tenant, list(outputs.values()))
            found = self._regions.read(tenant, list(inputs.values()))
        except RegionProblem as problem:
            raise _invalid(model, problem) from None
        return dict(zip(inputs, found, strict=True))

    def _placed(self, done: Inference, tenant: str, outputs: Mapping[int, Use]) -> Inference:
        answer = done.answer
        done.placed = {done.asked.outputs[i]: use for i, use in outputs.items()}
        try:
            # A copy within memory, as an answer's way into its message is.
            self._regions.write(tenant, [(use, answer.values[at]) for at, use in done.placed.items()])
        except RegionProblem as problem:
            raise _invalid(done.model.name, problem) from None
        return done


def _names_region(tensors: Sequence[Tensor]) -> bool:
    return any(REGION in tensor.parameters for tensor in tensors)


def _uses(model: str, kind: str, tensors: Sequence[Tensor]) -> dict[int, Use]:
    """The tensors that lie in shared memory, by their place; raises TENSOR_INVALID."""
    return {
        i: _use(model, f"{kind}[{i}]", tensor.parameters)
        for i, tensor in enumerate(tensors)
        if REGION in tensor.parameters
    }


def _use(model: str, field: str, parameters: Mapping[str, InferParameter]) -> Use:
    region = parameters[REGION]
    if region.WhichOneof("parameter_choice") != "string_param":
        raise tensor_invalid(model, f"{field}.parameters[{REGION}]", "expected string_param")
    size = _number(model, field, parameters, BYTE_SIZE)
    if size is None:
        raise tensor_invalid(model, f"{field}.parameters[{BYTE_SIZE}]", "is missing")
    return Use(region.string_param, _number(model, field, parameters, OFFSET) or 0, size, field)


def _number(model: str, field: str, parameters: Mapping[str, InferParameter], name: str) -> int | None:
    if name not in parameters:
        return None
    kind = parameters[name].WhichOneof("parameter_choice")
    number: int = getattr(parameters[name], kind) if kind in ("int64_param", "uint64_param") else -1
    if number < 0:
        raise tensor_invalid(model, f"{field}.parameters[{name}]", "expected a whole number from 0")
    return number


def _whole(model: str, request: ModelInferRequest, found: Mapping[int, bytes]) -> ModelInferRequest:
    """The request with the bytes that were found as if they had been sent; raises TENSOR_INVALID."""
    sent = iter(request.raw_input_contents)
    whole = ModelInferRequest()
    whole.CopyFrom(request)
    del whole.raw_input_contents[:]
    for i, tensor in enumerate(request.inputs):
        raw = found[i] if i in found else next(sent, None)
        if raw is None or tensor.HasField("contents"):
            problem = "expected raw_input_contents, since other inputs lie in shared memory"
            raise tensor_invalid(model, f"inputs[{i}]", problem)
        whole.raw_input_contents.append(raw)
    if next(sent, None) is not None:
        raise tensor_invalid(model, "raw_input_contents", "expected none for inputs in shared memory")
    for output in whole.outputs:
        if REGION in output.parameters:
            del output.parameters[REGION]
    return whole


def _least_bytes(model: Model, request: ModelInferRequest, name: str) -> int:
    """The size of an output that every answer to this request has; 0 where that is not known beforehand."""
    signature = model.backend.signature
    spec = next((one for one in signature.outputs if one.name == name), None)
    if spec is None or spec.datatype == BYTES or -1 in spec.dims:
        return 0
    rows = 1
    if signature.batches:
        rows = request.inputs[0].shape[0] if request.inputs and request.inputs[0].shape else 0
    return rows * prod(spec.dims) * DTYPES[spec.datatype].itemsize


def _invalid(model: str, problem: RegionProblem) -> HeadraceError:
    return tensor_invalid(model, f"{problem.tensor}.parameters[{FIELDS[problem.field]}]", problem.problem)
