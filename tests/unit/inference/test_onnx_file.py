"""ONNX files keep their data inside of the version's folder."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from headrace.inference.folders import RepositoryError
from headrace.inference.onnx_file import check_external_data
from tests.support.small import scale_model


def external(tensor: TensorProto, location: str) -> TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def in_weights(location: str) -> onnx.ModelProto:
    model = scale_model(2.0)
    external(model.graph.initializer[0], location)
    return model


def in_a_constant_of_a_branch(location: str) -> onnx.ModelProto:
    """Two graphs deep, in an attribute."""
    inner = helper.make_node("Constant", [], ["c"], value=external(TensorProto(name="c"), location))
    branch = helper.make_graph([inner], "branch", [], [])
    outer = helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch)
    model = scale_model(2.0)
    model.graph.node.append(
        helper.make_node("If", ["x"], ["z"], then_branch=helper.make_graph([outer], "o", [], []))
    )
    return model


def in_a_function(location: str) -> onnx.ModelProto:
    model = scale_model(2.0)
    node = helper.make_node("Constant", [], ["c"], value=external(TensorProto(name="c"), location))
    model.functions.append(helper.make_function("own", "f", [], ["c"], [node], []))
    return model


def written(folder: Path, model: onnx.ModelProto) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return file


@pytest.mark.parametrize("place", [in_weights, in_a_constant_of_a_branch, in_a_function])
@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../secret", "link", "./../1x/secret"])
def test_data_outside_of_the_folder_is_refused(
    tmp_path: Path, place: Callable[[str], onnx.ModelProto], location: str
) -> None:
    """Wherever in the model it is referred to, and however the way there is written."""
    (tmp_path / "secret").write_text("secret")
    file = written(tmp_path / "1", place(location))
    (tmp_path / "1" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(RepositoryError, match="lies outside"):
        check_external_data(file)


def test_data_beside_the_model_is_its_own(tmp_path: Path) -> None:
    """If it is there."""
    file = written(tmp_path / "1", in_weights("weights.bin"))
    with pytest.raises(RepositoryError, match=r"'weights\.bin' is missing"):
        check_external_data(file)
    (tmp_path / "1" / "weights.bin").write_bytes(b"\0" * 4)
    check_external_data(file)


@pytest.mark.parametrize("content", [b"no model", scale_model(2.0).SerializeToString()[:-20]])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    """Half a file too: one that is still being copied."""
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(RepositoryError, match="is no ONNX model"):
        check_external_data(tmp_path / "model.onnx")
