"""Inputs that a request may leave out: which models may have some, and what the model gets then."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from headrace.inference.backends.onnx import SignatureMismatch, zeros
from headrace.inference.config import ConfigError, config_of_json
from headrace.inference.core.tensors import (
    ABSENT,
    BYTES,
    TensorSpec,
    Value,
    elements,
    join_strings,
    left_out,
    split_strings,
)
from headrace.inference.execution import Work, execute
from headrace.inference.folders import Repository
from headrace.inference.loader import Loaded, Loader
from headrace.inference.settings import ModelOverride
from tests.support.small import as_model, shift_model, write_onnx, write_scale

X = 'input { name: "x" data_type: TYPE_FP32 dims: -1 } '
BY = 'input { name: "by" data_type: TYPE_FP32 dims: 1 optional: true } '
TEN = np.array([1, 2], np.float32).tobytes()


def load(repository: Path, config: str = X + BY, *, override: ModelOverride | None = None) -> Loaded:
    folder = write_onnx(repository, "shift", shift_model(), config=config)
    (found,) = Loader(Repository(repository), {folder.name: override or ModelOverride()}).load("shift")
    assert isinstance(found, Loaded)
    return found


def run(loaded: Loaded, *values: bytes | None) -> list[float]:
    """The output for the two inputs, None for one that is left out."""
    specs = loaded.backend.signature.inputs
    entries = [
        left_out(spec) if value is None else ((len(value) // 4,), value)
        for spec, value in zip(specs, values, strict=True)
    ]
    work = Work(1, [shape for shape, _ in entries], [value for _, value in entries])
    (answer,) = execute(loaded.backend, [work]).answers
    assert answer is not None
    return np.frombuffer(answer.values[0], np.float32).tolist()


def test_an_input_with_a_default_may_be_left_out(tmp_path: Path) -> None:
    """The model has its own value then; a value that is given is used, each time anew."""
    loaded = load(tmp_path)
    five = np.array([5], np.float32).tobytes()
    assert run(loaded, TEN, None) == [11.0, 12.0]
    assert run(loaded, TEN, five) == [6.0, 7.0]
    assert run(loaded, TEN, None) == [11.0, 12.0]
    assert [one.optional for one in loaded.config.input] == [False, True]


def test_what_is_optional_has_a_default_in_the_file(tmp_path: Path) -> None:
    """One that can be overridden; else the load names the inputs that lack it."""
    write_scale(
        tmp_path, config=X.replace("dims: -1", "dims: [ -1, 2 ] optional: true") + "max_batch_size: 0"
    )
    with pytest.raises(SignatureMismatch, match=r"optional inputs \['x'\] have no default"):
        Loader(Repository(tmp_path), {}).load("scale")
    write_onnx(tmp_path, "shift", shift_model(ir_version=3), config=X + BY)
    with pytest.raises(SignatureMismatch, match=r"optional inputs \['by'\] have no default"):
        Loader(Repository(tmp_path), {}).load("shift")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (X + BY.replace("FP32", "INT32"), "optional input 'by' as INT32"),
        (X + BY.replace("dims: 1", "dims: 2"), r"optional input 'by' as \[2\]"),
        (X + BY.replace(" optional: true", ""), "input 'by' as FP32, the file has"),
        (BY + X.replace("dims: -1", "dims: -1 optional: true"), r"optional inputs \['x'\]"),
    ],
)
def test_the_file_bears_it_out(tmp_path: Path, config: str, words: str) -> None:
    """Type, shape, and which of them has a default."""
    with pytest.raises(SignatureMismatch, match=words):
        load(tmp_path, config)


def test_a_model_that_batches_has_none(tmp_path: Path) -> None:
    """However it came to batch: as with Triton's ONNX Runtime, different sets of inputs never meet in a run."""
    config = (
        'max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: 2 optional: true }'
        ' output { name: "y" data_type: TYPE_FP32 dims: 2 }'
    )
    write_scale(tmp_path, config=config)
    with pytest.raises(ConfigError, match=r"scale/config.pbtxt: input\[0\].optional: not served where max_b"):
        Loader(Repository(tmp_path), {}).load("scale")
    override = ModelOverride(max_batch_size=4)
    with pytest.raises(ConfigError):
        load(tmp_path, X + BY + 'output { name: "y" data_type: TYPE_FP32 dims: -1 }', override=override)


@pytest.mark.parametrize("text", ['{"max_batch_size": -1}', '{"max_batch_size": -2147483648}'])
def test_a_batch_size_below_none_is_refused(text: str) -> None:
    """It is neither a bound nor none."""
    with pytest.raises(ConfigError, match="max_batch_size: expected 0 or more, got -"):
        config_of_json("scale", text)


@pytest.mark.parametrize("inputs", [("x",), ("x", "by")])
def test_a_warm_up_may_leave_it_out_too(tmp_path: Path, inputs: tuple[str, ...]) -> None:
    """And not what is needed."""
    config = X + BY
    value = "value { data_type: TYPE_FP32 dims: 1 zero_data: true }"

    def warmed(*names: str) -> str:
        samples = " ".join(f'inputs {{ key: "{name}" {value} }}' for name in names)
        return f'{config} model_warmup {{ name: "w" {samples} }}'

    load(tmp_path, warmed(*inputs))
    with pytest.raises(ConfigError, match=r"model_warmup\[0\].inputs: expected \['by', 'x'\], got \['by'\]"):
        load(tmp_path, warmed("by"))


@given(
    st.lists(st.integers(0, 3), max_size=3), st.sampled_from(["FP32", "BOOL", BYTES]), st.binary(max_size=40)
)
def test_what_is_left_out_is_nothing_that_can_be_given(shape: list[int], datatype: str, raw: bytes) -> None:
    """So neither a run nor a cache key takes one for the other, empty tensors and scalars included."""
    spec = TensorSpec("x", datatype, (), optional=True)
    if datatype == BYTES:
        joined = join_strings([raw] * elements(tuple(shape)))
        value: Value | str = split_strings(bytes(joined), elements(tuple(shape)))
    else:
        value = bytes(elements(tuple(shape)) * (4 if datatype == "FP32" else 1))
    assert (tuple(shape), value) != left_out(spec)


def test_strings_may_be_left_out(tmp_path: Path) -> None:
    """What stands for them is not taken for texts."""
    graph = helper.make_graph(
        [helper.make_node("Concat", ["x", "by"], ["y"], axis=0)],
        "behind",
        [helper.make_tensor_value_info(name, TensorProto.STRING, ["n"]) for name in ("x", "by")],
        [helper.make_tensor_value_info("y", TensorProto.STRING, ["m"])],
        initializer=[numpy_helper.from_array(np.array(["default"], object), "by")],
    )
    config = (X + BY).replace("FP32", "STRING").replace("dims: 1", "dims: -1")
    write_onnx(tmp_path, "behind", as_model(graph), config=config)
    (found,) = Loader(Repository(tmp_path), {}).load("behind")
    assert isinstance(found, Loaded)
    work = Work(1, [(1,), ()], [[b"text"], []])
    (answer,) = execute(found.backend, [work]).answers
    assert answer is not None
    assert split_strings(bytes(answer.values[0]), 2) == [b"text", b"default"]


def test_the_run_of_zeros_takes_the_default(tmp_path: Path) -> None:
    """A model may not bear what nobody sends: it would not load."""
    backend = load(tmp_path).backend
    assert zeros(backend.signature, 1, 8)[1] is ABSENT
