"""What is wrong with a request is named, whatever it is: the scenarios of Triton's L0_input_validation.

After each refusal the model serves on, and has executed nothing.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from headrace.inference.settings import RepositorySettings
from headrace.inference.v2 import grpc_service_pb2 as pb
from tests.contract.inference.conftest import Replica, running
from tests.contract.inference.test_contract import failure
from tests.support.echoes import of_one_node, write_echoes
from tests.support.small import write_onnx

ROW = np.array([[1, 2]], np.float32).tobytes()

Change = Callable[[pb.ModelInferRequest], object]


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Replica]:
    """A replica with the models that give back what they get."""
    write_echoes(tmp_path / "models")
    async with running(tmp_path, repository=RepositorySettings(tmp_path / "models")) as replica:
        yield replica


def pair() -> pb.ModelInferRequest:
    """A right request of `sum`: a + b."""
    request = pb.ModelInferRequest(model_name="sum", raw_input_contents=[ROW, ROW])
    for name in ("a", "b"):
        request.inputs.add(name=name, datatype="FP32", shape=[1, 2])
    return request


def strings(count: int, shape: tuple[int, int], *, typed: bool) -> pb.ModelInferRequest:
    """`count` strings that say they are of this shape."""
    request = pb.ModelInferRequest(model_name="strings")
    tensor = request.inputs.add(name="x", datatype="BYTES", shape=shape)
    if typed:
        tensor.contents.bytes_contents.extend([b"s"] * count)
    else:
        request.raw_input_contents.append(b"\x01\0\0\0s" * count)
    return request


def without(request: pb.ModelInferRequest, place: int) -> None:
    del request.inputs[place], request.raw_input_contents[place]


def also(request: pb.ModelInferRequest, name: str) -> None:
    request.inputs.add(name=name, datatype="FP32", shape=[1, 2])
    request.raw_input_contents.append(ROW)


def raw(request: pb.ModelInferRequest, data: bytes) -> None:
    request.raw_input_contents[1] = data


def shape(request: pb.ModelInferRequest, *sizes: int) -> None:
    request.inputs[1].shape[:] = sizes


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        (lambda r: without(r, 1), "inputs", "input 'b' is missing"),
        (lambda r: without(r, 0), "inputs", "input 'a' is missing"),
        (lambda r: also(r, "c"), "inputs[2].name", "expected one of ['a', 'b'], got 'c'"),
        (lambda r: also(r, "a"), "inputs[2].name", "input 'a' came twice"),
        (lambda r: raw(r, ROW * 2), "raw_input_contents[1]", "expected 8 bytes for FP32 [1, 2], got 16"),
        (lambda r: raw(r, ROW[1:]), "raw_input_contents[1]", "expected 8 bytes for FP32 [1, 2], got 7"),
        (lambda r: raw(r, b""), "raw_input_contents[1]", "expected 8 bytes for FP32 [1, 2], got 0"),
        (lambda r: shape(r, 1, 3), "inputs[1].shape", "expected shape [-1, 2], got [1, 3]"),
        (lambda r: shape(r, 2), "inputs[1].shape", "expected shape [-1, 2], got [2]"),
        (lambda r: shape(r, -1, -2), "inputs[1].shape", "expected no negative dimension"),
        (lambda r: shape(r, 2**4, 2**60 + 2), "inputs[1].shape", "expected shape [-1, 2]"),
        (lambda r: setattr(r.inputs[1], "datatype", "FP64"), "inputs[1].datatype", "expected FP32"),
        (lambda r: setattr(r.inputs[1], "datatype", ""), "inputs[1].datatype", "got nothing"),
        (lambda r: r.outputs.add(name="z"), "outputs[0].name", "expected one of ['y'], got 'z'"),
        (lambda r: (r.outputs.add(name="y"), r.outputs.add(name="y")), "outputs[1].name", "came twice"),
        (lambda r: r.raw_input_contents.pop(), "raw_input_contents", "expected 2 entries"),
    ],
)
async def test_what_is_wrong_is_named(one: Replica, change: Change, field: str, words: str) -> None:
    """The place in the request, what was expected and what came; the right request is still answered."""
    wrong = pair()
    change(wrong)
    code, info, status = await failure(one.stub.ModelInfer(wrong, metadata=one.bearer()))
    assert (code.name, info.reason) == ("INVALID_ARGUMENT", "TENSOR_INVALID")
    assert info.metadata["field"] == field
    assert words in status.message
    answer = await one.stub.ModelInfer(pair(), metadata=one.bearer())
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [2.0, 4.0]
    asked = pb.ModelStatisticsRequest(name="sum")
    (told,) = (await one.stub.ModelStatistics(asked, metadata=one.bearer())).model_stats
    assert (told.execution_count, told.inference_stats.fail.count) == (1, 1)


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize(("count", "got"), [(1, "1"), (0, "0"), (3, ("more", "3"))])
async def test_strings_are_counted(one: Replica, typed: bool, count: int, got: str | tuple[str, str]) -> None:
    """As many as the shape says, raw or typed."""
    code, _, status = await failure(
        one.stub.ModelInfer(strings(count, (1, 2), typed=typed), metadata=one.bearer())
    )
    assert code.name == "INVALID_ARGUMENT"
    assert "expected 2 " in status.message
    assert status.message.endswith(f"got {got[typed] if isinstance(got, tuple) else got}")


@pytest.mark.parametrize("name", ["../etc", "a/../b", "/etc/passwd", "model/", " ..", ".", "a\0b", "echo/1"])
async def test_no_name_is_a_path(one: Replica, name: str) -> None:
    """It names no model, and nothing is said of what lies where."""
    code, info, _ = await failure(
        one.stub.ModelInfer(pb.ModelInferRequest(model_name=name), metadata=one.bearer())
    )
    assert (code.name, info.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")


async def test_a_name_may_have_dots(tmp_path: Path) -> None:
    """`...` and `model..1` lead nowhere: they are folders like others."""
    names = ["...", "model..1"]
    for name in names:
        write_onnx(tmp_path / "models", name, of_one_node("Identity", ["batch", 2]))
    async with running(tmp_path, repository=RepositorySettings(tmp_path / "models")) as one:
        for name in names:
            request = pb.ModelInferRequest(model_name=name, raw_input_contents=[ROW])
            request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
            answer = await one.stub.ModelInfer(request, metadata=one.bearer())
            assert answer.raw_output_contents[0] == ROW
