"""What a config.pbtxt says of an ensemble; each mistake is an error with the file and the field."""

from pathlib import Path

import pytest

from headrace.inference.config import ConfigError
from headrace.inference.folders import Repository
from headrace.inference.loader import LoadedEnsemble, Loader
from headrace.inference.settings import ModelOverride
from tests.support.small import ensemble, step, write_ensemble, write_text

X = 'input { name: "x" data_type: TYPE_FP32 dims: 2 }'
Y = 'output { name: "y" data_type: TYPE_FP32 dims: 2 }'
STEP = step("scale", {"x": "x"}, {"y": "y"})
GOOD = ensemble(STEP, inputs=X, outputs=Y)


def load(repository: Path, config: str = GOOD, override: ModelOverride | None = None) -> LoadedEnsemble:
    write_ensemble(repository, "whole", config)
    (one,) = Loader(Repository(repository), {"whole": override} if override else {}).load("whole")
    assert isinstance(one, LoadedEnsemble)
    return one


def test_the_steps_are_read_in_their_order(tmp_path: Path) -> None:
    """Of a model's newest version, or of one that is named."""
    exact = step("scale", {"x": "t"}, {"y": "y"}, version=3)
    whole = ensemble(step("scale", {"x": "x"}, {"y": "t"}), exact, inputs=X, outputs=Y)
    graph = load(tmp_path, whole).graph
    assert [(one.model, one.version) for one in graph.steps] == [("scale", ""), ("scale", "3")]
    assert graph.steps[1].inputs == {"x": "t"}


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (
            GOOD.replace('platform: "ensemble"', ""),
            "platform: expected 'ensemble' beside ensemble_scheduling",
        ),
        (GOOD + ' backend: "onnxruntime"', "backend: an ensemble has none, its steps have their own"),
        (GOOD + " instance_group { count: 2 }", "instance_group: an ensemble has none"),
        (GOOD + ' model_warmup { name: "w" }', "model_warmup: an ensemble has none"),
        (GOOD + ' default_model_filename: "m"', "default_model_filename: an ensemble has none"),
        (GOOD + " dynamic_batching { }", "ensemble_scheduling.*dynamic_batching|dynamic_batching.*ensemble"),
        (f'platform: "ensemble" {X} {Y} dynamic_batching {{ }}', "dynamic_batching: an ensemble has none"),
        (f'platform: "ensemble" {X} {Y}', "step: expected 1 to 64, got 0"),
        (
            ensemble(STEP, inputs=X.replace("dims", "optional: true dims"), outputs=Y),
            r"input\[0\].optional: an ensemble's inputs are all needed",
        ),
        (ensemble(STEP, inputs="", outputs=Y), "input and output must be declared"),
        (
            ensemble(step("", {"x": "x"}, {"y": "y"}), inputs=X, outputs=Y),
            r"step\[0\].model_name: expected a name",
        ),
        (
            ensemble(step("../scale", {"x": "x"}, {"y": "y"}), inputs=X, outputs=Y),
            r"step\[0\].model_name: expected no slash",
        ),
        (
            ensemble(step("whole", {"x": "x"}, {"y": "y"}), inputs=X, outputs=Y),
            r"step\[0\].model_name: 'whole' is the ensemble itself",
        ),
        (
            ensemble(step("scale", {"x": "x"}, {"y": "y"}, version=0), inputs=X, outputs=Y),
            r"step\[0\].model_version: expected -1 \(the newest\) or a version, got 0",
        ),
        (
            ensemble(STEP + ' model_namespace: "n"', inputs=X, outputs=Y),
            r"step\[0\].model_namespace: not served",
        ),
        (
            GOOD + ' parameters { key: "headrace_eager" value { string_value: "false" } }',
            "parameters 'headrace_eager': not of an ensemble",
        ),
        (
            GOOD + ' parameters { key: "headrace_max_queue" value { string_value: "0" } }',
            "parameters 'headrace_max_queue': expected 1 to 1000000, got '0'",
        ),
        (
            ensemble(step("scale", {"x": "z"}, {"y": "y"}), inputs=X, outputs=Y),
            r"whole/config.pbtxt: ensemble_scheduling.step\[0\].input_map\['x'\]: nothing gives 'z'",
        ),
    ],
)
def test_what_an_ensemble_cannot_have_is_told(tmp_path: Path, config: str, problem: str) -> None:
    """A model that runs differently from what its configuration says is worse than one that does not load."""
    with pytest.raises(ConfigError, match=problem):
        load(tmp_path, config)


def test_an_operators_settings_are_the_ensembles_or_refused(tmp_path: Path) -> None:
    """How batches are made is set for the models of its steps."""
    one = load(tmp_path, override=ModelOverride(max_batch_size=4, max_queue=7))
    assert (one.config.max_batch_size, one.config.parameters["headrace_max_queue"].string_value) == (4, "7")
    for override in (ModelOverride(eager=False), ModelOverride(instances=2), ModelOverride(timeout_ms=5)):
        with pytest.raises(ConfigError, match="set it for the models of its steps"):
            load(tmp_path, override=override)


@pytest.mark.parametrize(
    "change",
    [
        ("TYPE_INT64", "TYPE_INT32"),
        ('"input_ids"', '"token_type_ids"'),
        ("TYPE_STRING", "TYPE_FP32"),
        ("max_batch_size: 8", "max_batch_size: 0"),
    ],
)
def test_a_tokenizer_is_declared_as_what_it_is(tmp_path: Path, change: tuple[str, str]) -> None:
    """One text in, its ids or their mask out."""
    write_text(tmp_path)
    config = tmp_path / "words" / "config.pbtxt"
    config.write_text(config.read_text().replace(*change))
    with pytest.raises(ConfigError, match=r"words/config\.pbtxt: backend 'headrace_tokenizer': expected"):
        Loader(Repository(tmp_path), {}).load("words")
