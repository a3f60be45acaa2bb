"""What a config.pbtxt says of an ensemble: read into its graph, checked as far as that goes without its models.

`platform: "ensemble"` and `ensemble_scheduling`, as Triton has them. What an
ensemble can't have (a batcher or instances of its own) is an error that names the field.
"""

from collections.abc import Iterator
from pathlib import Path

from headrace.inference.config import (
    EMBEDDINGS,
    FINITE,
    LONGEST,
    MOST,
    WITHIN,
    ConfigError,
    check_whole,
    signature_of,
)
from headrace.inference.core.graph import STEPS, Graph, Step
from headrace.inference.core.repository import MAX_NAME_BYTES, name_problem
from headrace.inference.v2.model_config_pb2 import ModelConfig, ModelEnsembling

PLATFORM = "ensemble"
NEWEST = -1
DEFAULT_MOST = 4096
HIGHEST_MOST = 1_000_000
MAX_VERSION = 10**18 - 1
NOT_OURS = ("backend", "default_model_filename", "dynamic_batching", "instance_group", "model_warmup")
PARAMETERS = (EMBEDDINGS, FINITE, MOST)
PREFIXES = (LONGEST, WITHIN)


def is_ensemble(config: ModelConfig) -> bool:
    """Whether the configuration means one."""
    return config.platform == PLATFORM or config.HasField("ensemble_scheduling")


def check_ensemble(file: Path, config: ModelConfig) -> None:
    """Raises `ConfigError` with all that is wrong, each with its field."""
    problems = list(_field_problems(config))
    if not problems:
        check_whole(file, config)
        problems = graph_of(config).problems()
    if problems:
        raise ConfigError(f"{file}: {'; '.join(problems)}")


def graph_of(config: ModelConfig) -> Graph:
    """The steps, between the inputs and the outputs that the configuration declares."""
    return Graph(
        signature_of(config),
        tuple(
            Step(
                step.model_name,
                "" if step.model_version == NEWEST else str(step.model_version),
                dict(step.input_map),
                dict(step.output_map),
            )
            for step in config.ensemble_scheduling.step
        ),
    )


def members_of(config: ModelConfig) -> list[str]:
    """The models of the steps, each once."""
    return list(dict.fromkeys(step.model_name for step in config.ensemble_scheduling.step))


def most_of(config: ModelConfig) -> int:
    """How many requests may be in the ensemble at once."""
    return int(config.parameters[MOST].string_value) if MOST in config.parameters else DEFAULT_MOST


def _field_problems(config: ModelConfig) -> Iterator[str]:
    if config.platform != PLATFORM:
        yield f"platform: expected {PLATFORM!r} beside ensemble_scheduling, got {config.platform!r}"
    present = {field.name for field, _ in config.ListFields()}
    for name in NOT_OURS:
        if name in present:
            yield f"{name}: an ensemble has none, its steps have their own"
    for i, tensor in enumerate(config.input):
        if tensor.optional:
            yield f"input[{i}].optional: an ensemble's inputs are all needed"
    for key, parameter in sorted(config.parameters.items()):
        if key not in PARAMETERS and not key.startswith(PREFIXES):
            yield f"parameters {key!r}: not of an ensemble"
        elif key == MOST and not _is_count(parameter.string_value):
            yield f"parameters {key!r}: expected 1 to {HIGHEST_MOST}, got {parameter.string_value!r}"
    for place, step in enumerate(config.ensemble_scheduling.step):
        for problem in _step_problems(config.name, step):
            yield f"{STEPS}[{place}].{problem}"


def _step_problems(ensemble: str, step: ModelEnsembling.Step) -> Iterator[str]:
    name = step.model_name[:MAX_NAME_BYTES]
    problem = name_problem(step.model_name)
    if problem:
        yield f"model_name: {problem}"
    if name == ensemble:
        yield f"model_name: {name!r} is the ensemble itself"
    if step.model_version != NEWEST and not 1 <= step.model_version <= MAX_VERSION:
        yield f"model_version: expected {NEWEST} (the newest) or a version, got {step.model_version}"
    if step.model_namespace:
        yield "model_namespace: not served"


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 7 and 1 <= int(text) <= HIGHEST_MOST
