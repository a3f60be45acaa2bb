"""Tensors between a command line and the wire."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headrace.cli.errors import CliError
from headrace.cli.tensors import DTYPES, Tensor, Wanted, from_argument, from_raw, from_text

X = Wanted("x", "FP32", (-1, 2))
TEXT = Wanted("text", "BYTES", (-1,))


@given(st.lists(st.text()))
def test_texts_there_and_back(texts: list[str]) -> None:
    """Texts survive their wire form, empty ones and any character included."""
    tensor = from_text(texts, [X, TEXT])
    assert from_raw("text", "BYTES", tensor.shape, tensor.raw()) == tensor
    assert tensor.shape == [len(texts)]


@given(st.data(), st.sampled_from(sorted(DTYPES)))
def test_numbers_there_and_back(data: st.DataObject, datatype: str) -> None:
    """Numbers of every datatype survive their wire form."""
    shape = arrays.array_shapes(max_dims=3, max_side=4)
    elements = {"allow_nan": False} if datatype.startswith("FP") else None
    values = data.draw(arrays.arrays(np.dtype(DTYPES[datatype]), shape, elements=elements))
    tensor = Tensor("t", datatype, list(values.shape), values.reshape(-1).tolist())
    assert tensor.raw() == values.tobytes()
    assert from_raw("t", datatype, values.shape, values.tobytes()) == tensor


def test_text_takes_the_shape_of_its_input() -> None:
    """A model whose texts have two dimensions gets [N, 1]."""
    assert from_text(["a", "b"], [Wanted("t", "BYTES", (-1, 1))]).shape == [2, 1]


def test_text_without_an_input_for_it() -> None:
    """--text for a model of numbers is refused, with the other way."""
    with pytest.raises(CliError, match="--input"):
        from_text(["a"], [X])


@pytest.mark.parametrize("name", ["v.npy", "v.json", ""])
def test_input(tmp_path: Path, name: str) -> None:
    """A .npy file, a JSON file and JSON on the command line give the same tensor."""
    np.save(tmp_path / "v.npy", np.array([[1, 2]], np.float64))
    (tmp_path / "v.json").write_text("[[1, 2]]")
    value = f"@{tmp_path / name}" if name else "[[1, 2]]"
    assert from_argument(f"x={value}", [X]) == Tensor("x", "FP32", [1, 2], [1.0, 2.0])


@pytest.mark.parametrize(
    "argument", ["y=[1]", "x", "x=", "x=[1", "x=@absent.npy", 'x=["a"]', "x=[[1], [1, 2]]", "x=" + "[" * 5000]
)
def test_bad_input(argument: str) -> None:
    """What is no input of the model, no file, no JSON or no number is refused with an example."""
    with pytest.raises(CliError):
        from_argument(argument, [X])


def test_pickles_are_not_read(tmp_path: Path) -> None:
    """A .npy file of Python objects is refused: reading it would run what it holds."""
    np.save(tmp_path / "v.npy", np.array([{}], object))
    with pytest.raises(CliError, match="pickle"):
        from_argument(f"x=@{tmp_path / 'v.npy'}", [X])
