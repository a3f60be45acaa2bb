"""Models read from a repository: their configuration completed, their versions chosen, warmed up."""

from pathlib import Path

import numpy as np
import pytest

from headrace.inference.config import ConfigError, config_of_json
from headrace.inference.folders import Repository, RepositoryError
from headrace.inference.loader import Loaded, Loader
from headrace.inference.settings import ModelOverride
from headrace.inference.v2.model_config_pb2 import ModelConfig
from tests.support.small import scale_model, write_onnx, write_scale

X = [np.array([[1.0, 2.0]], np.float32)]


def load(repository: Path, name: str = "scale") -> list[Loaded]:
    found = Loader(Repository(repository), {}).load(name)
    return [one for one in found if isinstance(one, Loaded)]


def y(loaded: Loaded) -> list[list[float]]:
    result: list[list[float]] = loaded.backend.execute(X)[0].tolist()
    return result


def test_a_folder_without_a_configuration_is_completed_from_its_file(tmp_path: Path) -> None:
    """Names, types, shapes; the free first dimension of all of them is the batch."""
    write_scale(tmp_path)
    (found,) = load(tmp_path)
    config = found.config
    assert (config.backend, config.platform) == ("onnxruntime", "onnxruntime_onnx")
    assert (config.max_batch_size, config.default_model_filename) == (32, "model.onnx")
    assert [(one.name, list(one.dims)) for one in config.input] == [("x", [2])]
    assert [(one.name, list(one.dims)) for one in config.output] == [("y", [2])]
    assert y(found) == [[2.0, 4.0]]


def test_a_file_of_fixed_size_does_not_batch(tmp_path: Path) -> None:
    """Nothing is guessed; to say that it does is an error."""
    write_onnx(tmp_path, "fixed", scale_model(2.0, rows=1))
    (one,) = load(tmp_path, "fixed")
    assert (one.config.max_batch_size, list(one.config.input[0].dims)) == (0, [1, 2])
    (tmp_path / "fixed" / "config.pbtxt").write_text("max_batch_size: 4")
    with pytest.raises(
        ConfigError, match=r"max_batch_size is 4, and the file's \['x', 'y'\] have no free first"
    ):
        load(tmp_path, "fixed")


@pytest.mark.parametrize(
    ("config", "batch", "dims"),
    [
        ("max_batch_size: 4", 4, [2]),
        ('input { name: "x" data_type: TYPE_FP32 dims: 2 }', 32, [2]),
        ('input { name: "x" data_type: TYPE_FP32 dims: [ -1, 2 ] }', 0, [-1, 2]),
        ('platform: "onnxruntime_onnx"', 32, [2]),
    ],
)
def test_what_the_configuration_says_is_left_as_it_is(
    tmp_path: Path, config: str, batch: int, dims: list[int]
) -> None:
    """Only what it leaves out is completed; declared shapes tell whether the batch is among them."""
    write_scale(tmp_path, config=config)
    (one,) = load(tmp_path)
    assert (one.config.max_batch_size, list(one.config.input[0].dims)) == (batch, dims)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: 3 }', r"input 'x' as \[-1, 3\]"),
        ('max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: [2, 2] }', r"input 'x' as"),
        ('input { name: "x" data_type: TYPE_INT32 dims: 2 }', "as INT32"),
        ('backend: "pytorch"', "no backend 'pytorch'"),
        ('platform: "tensorflow_savedmodel"', "no backend 'tensorflow_savedmodel'"),
        ("sequence_batching { }", "config.pbtxt: not served: sequence_batching"),
        ("sequence_batching { }", "sequence_batching"),
        ("model_operations { }", "model_operations"),
    ],
)
def test_a_configuration_that_the_file_does_not_bear_out_is_refused(
    tmp_path: Path, config: str, words: str
) -> None:
    """With the field, or with what the file has."""
    write_scale(tmp_path, config=config)
    with pytest.raises(Exception, match=words):
        load(tmp_path)


def test_the_model_file_is_inside_the_version(tmp_path: Path) -> None:
    """A way elsewhere in default_model_filename leads to the same folder."""
    write_scale(tmp_path / "models", config='default_model_filename: "../../../other.onnx"')
    write_onnx(tmp_path, "other", scale_model(3.0))
    (tmp_path / "other" / "1" / "model.onnx").rename(tmp_path / "other.onnx")
    with pytest.raises(RepositoryError, match="is no ONNX model"):
        load(tmp_path / "models")


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ("", ["10"]),
        ("version_policy { latest { num_versions: 2 } }", ["9", "10"]),
        ("version_policy { all { } }", ["1", "9", "10"]),
        ("version_policy { specific { versions: [ 1, 9 ] } }", ["1", "9"]),
    ],
)
def test_versions_serve_by_the_policy(tmp_path: Path, policy: str, versions: list[str]) -> None:
    """By number, not by name: 10 is newer than 9."""
    for number in (1, 9, 10):
        write_scale(tmp_path, factor=number, version=str(number), config=policy)
    loaded = load(tmp_path)
    assert [one.version for one in loaded] == versions
    assert [y(one)[0][0] for one in loaded] == [float(version) for version in versions]


def test_no_version_to_serve_is_an_error(tmp_path: Path) -> None:
    """With a policy that names none of those there are."""
    write_scale(tmp_path, config="version_policy { specific { versions: 7 } }")
    with pytest.raises(ConfigError, match="no version folder"):
        load(tmp_path)


def test_a_configuration_may_come_with_the_load(tmp_path: Path) -> None:
    """Instead of the folder's, in JSON; an operator's settings are over both."""
    write_scale(tmp_path, config="max_batch_size: 4")
    given = config_of_json("scale", '{"max_batch_size": 8, "parameters": {"k": {"string_value": "v"}}}')
    loader = Loader(Repository(tmp_path), {"scale": ModelOverride(max_queue=7)})
    (one,) = loader.load("scale", given)
    assert one.config.max_batch_size == 8
    assert one.config.dynamic_batching.default_queue_policy.max_queue_size == 7
    (again,) = loader.load("scale")
    assert (again.config.max_batch_size, dict(again.config.parameters)) == (4, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "config"),
        ('{"nonsense": 1}', "nonsense"),
        ('{"name": "other"}', "name is 'other'"),
        ('{"sequence_batching": {"direct": {}}}', "not served: sequence_batching"),
        ('{"optimization": {"graph": {"level": 1}}}', "not served: optimization"),
        ('{"input":' + "[" * 5000, "config"),
        (" " * (1024 * 1024 + 1), "at most"),
    ],
)
def test_a_configuration_that_comes_is_checked_the_same(text: str, words: str) -> None:
    """Unknown, unserved, foreign, endless."""
    with pytest.raises(ConfigError, match=words):
        config_of_json("scale", text)


def test_what_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    """A load that changes nothing keeps the session, until the model is let go."""
    write_scale(tmp_path)
    loader = Loader(Repository(tmp_path), {})
    (before,) = loader.load("scale")
    assert loader.load("scale")[0] is before
    loader.forget("scale")
    assert loader.load("scale")[0] is not before


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ('inputs { key: "x" value { data_type: TYPE_FP32 dims: 2 zero_data: true } }', ""),
        ('inputs { key: "x" value { data_type: TYPE_FP32 dims: 2 random_data: true } } count: 3', ""),
        ('inputs { key: "x" value { data_type: TYPE_FP32 dims: 2 input_data_file: "x.bin" } }', ""),
        ('inputs { key: "z" value { data_type: TYPE_FP32 dims: 2 zero_data: true } }', r"expected \['x'\]"),
        ('inputs { key: "x" value { data_type: TYPE_INT8 dims: 2 zero_data: true } }', "expected FP32"),
        ('inputs { key: "x" value { data_type: TYPE_FP32 dims: -2 zero_data: true } }', "sizes of 0 or more"),
        ('inputs { key: "x" value { data_type: TYPE_FP32 dims: 2 } }', "zero_data, random_data or"),
        (
            'inputs { key: "x" value { data_type: TYPE_FP32 dims: 2 input_data_file: "../../secret" } }',
            "no file",
        ),
        (
            'inputs { key: "x" value { data_type: TYPE_FP32 dims: 4000000000000 zero_data: true } }',
            "elements at most",
        ),
        ('inputs { key: "x" value { data_type: TYPE_FP32 dims: 2 zero_data: true } } count: 9999', "count"),
        (
            'inputs { key: "x" value { data_type: TYPE_FP32 dims: 2 zero_data: true } } batch_size: 99',
            r"model_warmup\[0\].batch_size: expected at most 4, got 99",
        ),
        (
            'inputs { key: "x" value { data_type: TYPE_FP32 dims: 3 zero_data: true } }',
            "(?i)invalid|dimension",
        ),
    ],
)
def test_a_warm_up_that_fails_is_a_load_that_fails(tmp_path: Path, sample: str, words: str) -> None:
    """Samples of zeros, of random numbers, of a file in the model's folder; what does not fit is named."""
    folder = write_scale(tmp_path, config=f"max_batch_size: 4 model_warmup {{ name: 'w' {sample} }}")
    (folder / "warmup").mkdir()
    (folder / "warmup" / "x.bin").write_bytes(X[0].tobytes())
    (tmp_path / "secret").write_bytes(X[0].tobytes())
    if not words:
        assert load(tmp_path)
        return
    with pytest.raises(Exception, match=words):
        load(tmp_path)


def test_the_configuration_that_is_told_is_a_configuration(tmp_path: Path) -> None:
    """What is told of a model loads it again."""
    write_scale(tmp_path)
    (one,) = load(tmp_path)
    told = ModelConfig.FromString(one.config.SerializeToString())
    (again,) = Loader(Repository(tmp_path), {}).load("scale", told)
    assert again.config == one.config
