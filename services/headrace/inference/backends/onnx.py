"""ONNX Runtime on the CPU.

One session with one thread, run by several instance threads at once: two
one-thread runs beat one run of two threads (513-549/s against 454-497/s for
MiniLM at batch 16), and the instances share the weights. Threads that spin
would steal the cores from everything else.
"""

from pathlib import Path

import numpy as np
import onnxruntime as ort

from headrace.inference.core.tensors import ABSENT, BYTES, DTYPES, Array, Signature, TensorSpec, Value

PROVIDER = "CPUExecutionProvider"

ONNX_TYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


class SignatureMismatch(Exception):
    """The model file does not have the inputs and outputs that its config declares."""


class OnnxBackend:
    """A model.onnx. Raises `SignatureMismatch` when it is not what `signature` says."""

    platform = "onnxruntime_onnx"

    def __init__(self, file: Path, signature: Signature, session: ort.InferenceSession | None = None) -> None:
        self.signature = signature
        self._session = session or opened(file)
        optional = tuple(spec for spec in signature.inputs if spec.optional)
        needed = tuple(spec for spec in signature.inputs if not spec.optional)
        _check(file, signature, optional, _defaults(file, self._session, optional), "optional input")
        _check(file, signature, needed, tensors(self._session.get_inputs()), "input")
        _check(file, signature, signature.outputs, tensors(self._session.get_outputs()), "output")
        self._inputs = [spec.name for spec in signature.inputs]
        self._optional = bool(optional)
        self._outputs = [spec.name for spec in signature.outputs]
        self._texts = [i for i, spec in enumerate(signature.inputs) if spec.datatype == BYTES]

    def execute(self, inputs: list[Array]) -> list[Array]:
        """One run of the session."""
        if self._texts:
            inputs = [_text(array) if i in self._texts else array for i, array in enumerate(inputs)]
        given = dict(zip(self._inputs, inputs, strict=True))
        if self._optional:
            given = {name: array for name, array in given.items() if array is not ABSENT}
        outputs: list[Array] = self._session.run(self._outputs, given)
        return [_bytes(output) if output.dtype == object else output for output in outputs]

    def problem(self, values: list[Value]) -> str:
        """ONNX strings are UTF-8."""
        for i in self._texts:
            for element in values[i]:
                try:
                    element.decode()  # type: ignore[union-attr]  # BYTES values are lists of bytes
                except UnicodeDecodeError:
                    return f"input {self._inputs[i]!r} holds a string that is not UTF-8"
        return ""

    def close(self) -> None:
        """The session goes with its last reference."""


def opened(file: Path) -> ort.InferenceSession:
    """A session on the file; raises what ONNX Runtime raises."""
    session = ort.InferenceSession(str(file), _options(), providers=[PROVIDER])
    if session.get_providers()[0] != PROVIDER:
        raise RuntimeError(f"{file}: expected {PROVIDER}, got {session.get_providers()}")
    return session


def tensors(nodes: list[ort.NodeArg]) -> tuple[TensorSpec, ...]:
    """The file's own inputs or outputs: every dimension of theirs, -1 for a free one.

    No dimensions: a scalar, or a tensor of which the file does not tell them.
    """
    return tuple(
        TensorSpec(
            node.name,
            ONNX_TYPES.get(node.type, node.type),
            tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape),
        )
        for node in nodes
    )


def _defaults(
    file: Path, session: ort.InferenceSession, optional: tuple[TensorSpec, ...]
) -> tuple[TensorSpec, ...]:
    """The file's own of these inputs; raises SignatureMismatch for one that has no default there."""
    own = {tensor.name: tensor for tensor in tensors(session.get_overridable_initializers())}
    lacking = [spec.name for spec in optional if spec.name not in own]
    if lacking:
        raise SignatureMismatch(
            f"{file}: optional inputs {lacking} have no default: expected an initializer of each one's name,"
            " beside it in the graph's inputs (IR version 4 or newer)"
        )
    return tuple(own[spec.name] for spec in optional)


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _check(
    file: Path, signature: Signature, specs: tuple[TensorSpec, ...], own: tuple[TensorSpec, ...], what: str
) -> None:
    found = {tensor.name: tensor for tensor in own}
    types = {tensor.name: tensor.datatype for tensor in own}
    for spec in specs:
        if types.get(spec.name) != spec.datatype:
            raise SignatureMismatch(
                f"{file}: the config declares {what} {spec.name!r} as {spec.datatype}, the file has {types}"
            )
        dims = (-1, *spec.dims) if signature.batches else spec.dims
        if not _fits(dims, found[spec.name].dims):
            raise SignatureMismatch(
                f"{file}: the config declares {what} {spec.name!r} as {list(dims)}"
                f"{', its batch before it' if signature.batches else ''},"
                f" the file has {list(found[spec.name].dims)}"
            )
    missing = set(types) - {spec.name for spec in specs} if what == "input" else set()
    if missing:
        raise SignatureMismatch(f"{file}: the config lacks {what}s {sorted(missing)}")


def _fits(declared: tuple[int, ...], own: tuple[int, ...]) -> bool:
    if not own:
        return True
    free = -1
    return len(declared) == len(own) and all(
        one in (free, other) or other == free for one, other in zip(declared, own, strict=True)
    )


def _text(array: Array) -> Array:
    if array is ABSENT:
        return array
    return np.array([element.decode() for element in array.reshape(-1)], dtype=object).reshape(array.shape)


def _bytes(array: Array) -> Array:
    flat = np.empty(array.size, dtype=object)
    flat[:] = [str(element).encode() for element in array.reshape(-1)]
    return flat.reshape(array.shape)


def zeros(signature: Signature, rows: int, length: int) -> list[Array]:
    """Inputs of zeros to warm a model up with; free dimensions get `length`."""
    arrays: list[Array] = []
    for spec in signature.inputs:
        if spec.optional:
            arrays.append(ABSENT)
            continue
        dims = tuple(length if size < 0 else size for size in spec.dims)
        shape = (rows, *dims) if signature.batches else dims
        if spec.datatype == BYTES:
            array: Array = np.full(shape, b"", dtype=object)
        else:
            array = np.zeros(shape, DTYPES[spec.datatype])
        arrays.append(array)
    return arrays
