"""A model folder's configuration."""

from pathlib import Path

import pytest

from headrace.inference.batching import policy_of
from headrace.inference.config import (
    ConfigError,
    instances_of,
    override,
    read_config,
    runs_of,
    signature_of,
)
from headrace.inference.core.policy import BatchPolicy, QueuePolicy
from headrace.inference.core.tensors import Signature, TensorSpec
from headrace.inference.settings import ModelOverride
from headrace.inference.v2.model_config_pb2 import ModelConfig

TEXT = """
backend: "onnxruntime"
max_batch_size: 8
input { name: "x" data_type: TYPE_STRING dims: -1 }
output { name: "y" data_type: TYPE_FP32 dims: 4 }
"""


def config(folder: Path, more: str = "") -> ModelConfig:
    folder.mkdir(exist_ok=True)
    (folder / "config.pbtxt").write_text(TEXT + more)
    return read_config(folder)


def test_a_folder_is_its_models_name(tmp_path: Path) -> None:
    """The name may be left out, and may not be another one."""
    assert config(tmp_path / "m").name == "m"
    with pytest.raises(ConfigError, match=r"name is 'n', the folder is 'm'"):
        config(tmp_path / "m", 'name: "n"')


def test_the_signature_speaks_the_protocols_datatypes(tmp_path: Path) -> None:
    """TYPE_STRING is BYTES."""
    assert signature_of(config(tmp_path / "m")) == Signature(
        "m", (TensorSpec("x", "BYTES", (-1,)),), (TensorSpec("y", "FP32", (4,)),), 8
    )


def test_defaults_are_the_specifications(tmp_path: Path) -> None:
    """100 ms at the most, eager, an instance a core."""
    plain = config(tmp_path / "m")
    assert policy_of(plain) == BatchPolicy(
        8, 0.1, eager=True, levels=(QueuePolicy(4096, allow_override=True),)
    )
    assert instances_of(plain, 2) == 2


def test_the_folder_sets_its_batching(tmp_path: Path) -> None:
    """In Triton's words."""
    own = config(
        tmp_path / "m",
        "instance_group { count: 3 kind: KIND_CPU } dynamic_batching { preferred_batch_size: [2, 4] max_queue_delay_microseconds: 500"
        " default_queue_policy { max_queue_size: 7 default_timeout_microseconds: 2000000 } }",
    )
    assert policy_of(own) == BatchPolicy(
        8, 0.0005, eager=True, max_queue=7, preferred=(2, 4), levels=(QueuePolicy(7, 2.0),)
    )
    assert instances_of(own, 2) == 3


def test_an_operator_overrides_the_folder(tmp_path: Path) -> None:
    """And the configuration that clients are told is the one in force."""
    changed = override(
        config(tmp_path / "m"),
        ModelOverride(
            max_batch_size=2, max_queue=3, max_delay_us=10, eager=False, timeout_ms=50, instances=4
        ),
    )
    assert policy_of(changed) == BatchPolicy(
        2, 0.00001, eager=False, max_queue=3, levels=(QueuePolicy(3, 0.05, allow_override=True),)
    )
    assert (instances_of(changed, 2), changed.max_batch_size) == (4, 2)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ("sequence_batching {}", "sequence_batching"),
        (
            "dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }",
            "dynamic_batching.preserve_ordering: expected false with more than one of priority_levels",
        ),
        ("dynamic_batching { priority_levels: 2 }", r"default_priority_level: expected 1 to .* \(2\), got 0"),
        ("dynamic_batching { priority_levels: 101 default_priority_level: 1 }", "at most 100, got 101"),
        ("dynamic_batching { default_priority_level: 1 }", "expected none without priority_levels"),
        (
            "dynamic_batching { priority_levels: 1 default_priority_level: 1"
            " priority_queue_policy { key: 2 value { max_queue_size: 1 } } }",
            r"dynamic_batching.priority_queue_policy\[2\]: expected a key from 1",
        ),
        (
            'parameters { key: "headrace_aging_us" value { string_value: "-1" } }',
            "headrace_aging_us.: expected microseconds",
        ),
        ("dynamic_batching { preferred_batch_size: 9 }", "dynamic_batching.preferred_batch_size"),
        ("instance_group { kind: KIND_GPU }", r"instance_group\[0\].kind"),
        ('input { name: "z" data_type: TYPE_FP32 dims: 1 optional: true }', r"input\[1\].optional"),
        ("nonsense: 1", "nonsense"),
        ("max_batch_size: many", "many"),
    ],
)
def test_what_is_not_served_is_named_with_its_file(tmp_path: Path, more: str, field: str) -> None:
    """Never ignored: a model must run as its configuration says, or not at all."""
    with pytest.raises(ConfigError, match=field) as error:
        config(tmp_path / "m", more)
    assert "config.pbtxt" in str(error.value)


def test_a_folder_without_inputs_is_refused(tmp_path: Path) -> None:
    """Nothing could be validated against it."""
    (tmp_path / "config.pbtxt").write_text('backend: "onnxruntime"')
    with pytest.raises(ConfigError, match="must be declared"):
        read_config(tmp_path)


INTEGERS = TEXT.replace("TYPE_STRING", "TYPE_INT8")


def bounded(folder: Path, key: str, value: str, text: str = INTEGERS) -> ModelConfig:
    folder.mkdir()
    parameter = f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'
    (folder / "config.pbtxt").write_text(text + parameter)
    return read_config(folder)


def test_an_input_may_have_bounds(tmp_path: Path) -> None:
    """Of its values and of its free dimensions, by parameters that other servers pass over."""
    (within,) = signature_of(bounded(tmp_path / "a", "headrace_within.x", "-1:127")).inputs
    (longest,) = signature_of(bounded(tmp_path / "b", "headrace_longest.x", "512")).inputs
    assert (within.within, longest.longest) == ((-1, 127), 512)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("headrace_within.x", "0:128", "two values of INT8"),
        ("headrace_within.x", "1:0", "the lower one first"),
        ("headrace_within.x", "0-1", "LOWEST:HIGHEST, got '0-1'"),
        ("headrace_within.q", "0:1", "an input's name"),
        ("headrace_longest.x", "0", "a size of at least 1"),
        ("headrace_longest.q", "1", "an input's name"),
        ("headrace_stall_ms", "soon", "milliseconds"),
        ("headrace_finite", "maybe", '"true" or "false"'),
    ],
)
def test_a_bad_bound_is_named(tmp_path: Path, key: str, value: str, words: str) -> None:
    """The parameter, what was expected, what stands there."""
    with pytest.raises(ConfigError, match=f"parameters '{key}': expected .*{words}"):
        bounded(tmp_path / "m", key, value)


def test_only_integers_have_a_range(tmp_path: Path) -> None:
    """Strings have none, and floats would need a rule for NaN."""
    with pytest.raises(ConfigError, match="no range for an input of BYTES"):
        bounded(tmp_path / "m", "headrace_within.x", "0:1", TEXT)


def test_a_model_may_refuse_what_is_no_number(tmp_path: Path) -> None:
    """Of its floats; what is neither true nor false is named."""
    floats = TEXT.replace("TYPE_STRING", "TYPE_FP16")
    for value, finite in (("true", True), ("false", False)):
        (x,) = signature_of(bounded(tmp_path / value, "headrace_finite", value, floats)).inputs
        assert x.finite is finite
    (text,) = signature_of(bounded(tmp_path / "text", "headrace_finite", "true", TEXT)).inputs
    assert not text.finite


def test_a_run_has_a_bound_of_its_models(tmp_path: Path) -> None:
    """A second and a half, what a parameter says, or none."""
    for value, stalls_after in (("", 1.5), ("5000", 5.0), ("0", float("inf"))):
        config = bounded(tmp_path / f"m{value}", "headrace_stall_ms", value) if value else ModelConfig()
        runs = runs_of(config, 1)
        runs.begin("a", 0.0)
        assert runs.stalled(stalls_after + 0.1) == (value != "0")
        assert not runs.stalled(stalls_after)
