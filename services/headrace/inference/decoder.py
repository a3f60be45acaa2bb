"""ModelInferRequest in, one parse, no copy: everything about a request is checked here.

Which field, what was expected, what came; and all of it before anything is
allocated. The shapes that a model has seen to be right are remembered, so that
the usual request costs a look-up an input.
"""

from collections.abc import Sequence

import numpy as np

from headrace.inference.core.memory import REGION
from headrace.inference.core.tensors import (
    BYTES,
    DTYPES,
    Signature,
    Value,
    elements,
    left_out,
    shape_problem,
    split_strings,
    value_problem,
)
from headrace.inference.errors import tensor_invalid
from headrace.inference.execution import Work
from headrace.inference.v2.grpc_service_pb2 import InferTensorContents, ModelInferRequest
from headrace.runtime.errors import HeadraceError

CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of InferTensorContents for each datatype; FP16 has none and must be raw."""


NO_REGION = "shared memory is not served: send the tensor in the request"

MAX_SHAPES = 1024
"""Shapes remembered for a model; past it they are checked anew."""

InputTensor = ModelInferRequest.InferInputTensor


class Decoder:
    """Decodes the requests for one model."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._specs = {spec.name: spec for spec in signature.inputs}
        self._known: dict[tuple[str, str, tuple[int, ...]], int] = {}
        self._bounded = any(spec.within is not None or spec.finite for spec in signature.inputs)
        self._every_output = tuple(range(len(signature.outputs)))

    def decode(self, request: ModelInferRequest) -> Work:
        """The request's inputs in the signature's order; raises TENSOR_INVALID."""
        raws = request.raw_input_contents
        tensors = request.inputs
        if raws and len(raws) != len(tensors):
            self._check_regions(tensors)
            raise self._invalid(
                "raw_input_contents",
                f"expected {len(tensors)} entries, one for each input, got {len(raws)}",
            )
        found: dict[str, tuple[tuple[int, ...], Value]] = {}
        for i, tensor in enumerate(tensors):
            name, shape = tensor.name, tuple(tensor.shape)
            if name in found:
                raise self._invalid(f"inputs[{i}].name", f"input {name!r} came twice")
            size = self._known.get((name, tensor.datatype, shape))
            if size is None:
                size = self._check(i, tensor, shape)
            if not raws:
                found[name] = shape, self._typed(i, tensor, shape)
                continue
            if tensor.HasField("contents"):
                raise self._invalid(f"inputs[{i}].contents", "expected none beside raw_input_contents")
            raw = raws[i]
            found[name] = shape, raw if len(raw) == size else self._other(i, tensor, shape, raw)
        if self._bounded:
            self._check_values(request, found)
        return self._work(found)

    def outputs(self, request: ModelInferRequest) -> tuple[int, ...]:
        """Places of the requested outputs in the signature; all of them for none.

        Raises TENSOR_INVALID for an unknown name, or one that comes twice.
        """
        if not request.outputs:
            return self._every_output
        places = {spec.name: i for i, spec in enumerate(self._signature.outputs)}
        chosen: list[int] = []
        for i, output in enumerate(request.outputs):
            if REGION in output.parameters:
                raise self._invalid(f"outputs[{i}].parameters[{REGION}]", NO_REGION)
            place = places.get(output.name)
            if place is None:
                raise self._invalid(
                    f"outputs[{i}].name", f"expected one of {list(places)}, got {output.name!r}"
                )
            if place in chosen:
                raise self._invalid(f"outputs[{i}].name", f"output {output.name!r} came twice")
            chosen.append(place)
        return tuple(chosen)

    def _check_regions(self, tensors: Sequence[InputTensor]) -> None:
        """Raises TENSOR_INVALID for the first input that lies elsewhere."""
        for i, tensor in enumerate(tensors):
            if REGION in tensor.parameters:
                raise self._invalid(f"inputs[{i}].parameters[{REGION}]", NO_REGION)

    def _check(self, i: int, tensor: InputTensor, shape: tuple[int, ...]) -> int:
        """The raw bytes of a tensor of this shape, -1 for BYTES; raises TENSOR_INVALID."""
        spec = self._specs.get(tensor.name)
        if spec is None:
            raise self._invalid(
                f"inputs[{i}].name", f"expected one of {list(self._specs)}, got {tensor.name!r}"
            )
        if tensor.datatype != spec.datatype:
            raise self._invalid(
                f"inputs[{i}].datatype",
                f"expected {spec.datatype} for input {spec.name!r}, got {tensor.datatype or 'nothing'}",
            )
        problem = shape_problem(spec, shape, self._signature.max_batch_size)
        if problem:
            raise self._invalid(f"inputs[{i}].shape", f"{problem} for input {spec.name!r}")
        size = -1 if spec.datatype == BYTES else elements(shape) * DTYPES[spec.datatype].itemsize
        if len(self._known) < MAX_SHAPES:
            self._known[spec.name, spec.datatype, shape] = size
        return size

    def _other(self, i: int, tensor: InputTensor, shape: tuple[int, ...], raw: bytes) -> Value:
        """A raw value whose length alone does not say that it is right."""
        spec = self._specs[tensor.name]
        shared = REGION in tensor.parameters
        field = f"inputs[{i}].parameters[{REGION}]" if shared else f"raw_input_contents[{i}]"
        if spec.datatype == BYTES:
            strings = split_strings(raw, elements(shape))
            if isinstance(strings, str):
                raise self._invalid(field, strings)
            return strings
        expected = elements(shape) * DTYPES[spec.datatype].itemsize
        raise self._invalid(
            field, f"expected {expected} bytes for {spec.datatype} {list(shape)}, got {len(raw)}"
        )

    def _typed(self, i: int, tensor: InputTensor, shape: tuple[int, ...]) -> Value:
        """The value in `contents`."""
        datatype = tensor.datatype
        if REGION in tensor.parameters:
            raise self._invalid(f"inputs[{i}].parameters[{REGION}]", NO_REGION)
        name = CONTENTS.get(datatype)
        if name is None:
            raise self._invalid(
                f"inputs[{i}]", f"expected {datatype} in raw_input_contents: contents has no field for it"
            )
        contents: InferTensorContents = tensor.contents
        for other, _ in contents.ListFields():
            if other.name != name:
                raise self._invalid(
                    f"inputs[{i}].contents.{other.name}", f"expected {datatype} values in {name}"
                )
        field = f"inputs[{i}].contents.{name}"
        values = getattr(contents, name)
        if len(values) != elements(shape):
            raise self._invalid(
                field, f"expected {elements(shape)} elements for shape {list(shape)}, got {len(values)}"
            )
        if datatype == BYTES:
            return list(values)
        try:
            return packed(list(values), datatype)
        except (OverflowError, ValueError):
            raise self._invalid(field, f"a value is out of {datatype}'s range") from None

    def _check_values(
        self, request: ModelInferRequest, found: dict[str, tuple[tuple[int, ...], Value]]
    ) -> None:
        """Raises TENSOR_INVALID for the first input with a value out of its bounds."""
        for i, tensor in enumerate(request.inputs):
            raw = found[tensor.name][1]
            if isinstance(raw, list):  # strings have no range
                continue
            problem = value_problem(self._specs[tensor.name], raw)
            if problem:
                typed = f"inputs[{i}].contents.{CONTENTS.get(tensor.datatype)}"
                field = f"raw_input_contents[{i}]" if request.raw_input_contents else typed
                raise self._invalid(field, f"{problem} for input {tensor.name!r}")

    def _work(self, found: dict[str, tuple[tuple[int, ...], Value]]) -> Work:
        try:
            entries = [found[spec.name] for spec in self._signature.inputs]
        except KeyError:
            entries = self._with_left_out(found)
        shapes = [shape for shape, _ in entries]
        values = [value for _, value in entries]
        if not self._signature.batches:
            return Work(1, shapes, values)
        rows = shapes[0][0]
        for shape in shapes:
            if shape[0] != rows:
                raise self._invalid(
                    "inputs", f"expected as many rows in every input, got {[one[0] for one in shapes]}"
                )
        return Work(rows, shapes, values)

    def _with_left_out(
        self, found: dict[str, tuple[tuple[int, ...], Value]]
    ) -> list[tuple[tuple[int, ...], Value]]:
        for spec in self._signature.inputs:
            if spec.name not in found and not spec.optional:
                raise self._invalid("inputs", f"input {spec.name!r} is missing")
        return [found[spec.name] if spec.name in found else left_out(spec) for spec in self._signature.inputs]

    def _invalid(self, field: str, problem: str) -> HeadraceError:
        return tensor_invalid(self._signature.model, field, problem)


def packed(values: Sequence[float | int | bool], datatype: str) -> bytes:
    """Values as raw bytes of `datatype`; OverflowError or ValueError when one does not fit."""
    dtype = DTYPES[datatype]
    if dtype.kind in "iu":
        exact = np.array(values, dtype=np.int64 if dtype.kind == "i" else np.uint64)
        if exact.size and not (exact.min() >= np.iinfo(dtype).min and exact.max() <= np.iinfo(dtype).max):
            raise OverflowError(datatype)
        return exact.astype(dtype).tobytes()
    try:
        with np.errstate(over="raise"):  # or a number that is too large would become an infinity
            return np.array(values, dtype=dtype).tobytes()
    except FloatingPointError:
        raise OverflowError(datatype) from None
