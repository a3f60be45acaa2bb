"""What a model's configuration and a request's parameters say of waiting and batching.

Triton's ModelDynamicBatching and ModelQueuePolicy, every field; what can't be
served together is told with its field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from headrace.inference.core.policy import BatchPolicy, QueuePolicy, TimeoutAction
from headrace.inference.errors import parameter_invalid
from headrace.inference.lengths import length_problems, padding_of
from headrace.inference.v2.model_config_pb2 import ModelConfig, ModelDynamicBatching, ModelQueuePolicy
from headrace.runtime.rpc import Call

EAGER = "headrace_eager"
"""The parameter that makes a model wait for its delay although an instance is idle: "false"."""

AGING = "headrace_aging_us"
"""The parameter with the microseconds of waiting that lift a request by one priority level."""

DEFAULT_MAX_DELAY_US = 100_000
DEFAULT_MAX_QUEUE = 4096
DEFAULT_TIMEOUT_S = 30.0
"""How long a request may take whose caller set no deadline."""

LONGEST_DELAY_S = 3600.0
"""How long a request may take that is delayed and whose caller set no deadline."""

UNSAID = QueuePolicy(DEFAULT_MAX_QUEUE, allow_override=True)
"""The policy of a model whose configuration has none."""

MAX_LEVELS = 100
NO_PARAMETERS: Mapping[str, Any] = {}


def batching_problems(config: ModelConfig) -> list[str]:
    """Every mistake in what says how the model is batched, each with its field."""
    batching, problems = config.dynamic_batching, []
    problems += [
        f"preferred_batch_size: expected 1 to max_batch_size ({config.max_batch_size}), got {size}"
        for size in batching.preferred_batch_size
        if not 1 <= size <= config.max_batch_size
    ]
    levels = batching.priority_levels
    if levels > MAX_LEVELS:
        problems.append(f"priority_levels: expected at most {MAX_LEVELS}, got {levels}")
    if levels and not 1 <= batching.default_priority_level <= levels:
        problems.append(
            f"default_priority_level: expected 1 to priority_levels ({levels}),"
            f" got {batching.default_priority_level}"
        )
    if not levels and batching.default_priority_level:
        problems.append("default_priority_level: expected none without priority_levels")
    problems += [
        f"priority_queue_policy[{key}]: expected a key from 1 to priority_levels ({levels})"
        for key in sorted(batching.priority_queue_policy)
        if not 1 <= key <= levels
    ]
    if batching.preserve_ordering and levels > 1:
        problems.append("preserve_ordering: expected false with more than one of priority_levels")
    return (
        [f"dynamic_batching.{problem}" for problem in problems]
        + _parameter_problems(config)
        + length_problems(config)
    )


def _parameter_problems(config: ModelConfig) -> list[str]:
    if AGING not in config.parameters:
        return []
    text = config.parameters[AGING].string_value
    known = text.isascii() and text.isdecimal() and 0 < int(text) <= 10**12
    return [] if known else [f"parameters {AGING!r}: expected microseconds from 1 to 10^12, got {text!r}"]


def policy_of(config: ModelConfig) -> BatchPolicy:
    """When the model's batches close, and what goes before what."""
    batching, parameters = config.dynamic_batching, config.parameters
    default = UNSAID
    if batching.HasField("default_queue_policy"):
        default = _queue(batching.default_queue_policy)
    return BatchPolicy(
        max_batch_size=max(1, config.max_batch_size),
        max_delay_s=(batching.max_queue_delay_microseconds or DEFAULT_MAX_DELAY_US) / 1e6,
        eager=parameters[EAGER].string_value != "false" if EAGER in parameters else True,
        max_queue=default.max_queue,
        preferred=tuple(sorted(set(batching.preferred_batch_size))),
        levels=_levels(batching, default),
        default_level=batching.default_priority_level or 1,
        aging_s=int(parameters[AGING].string_value) / 1e6 if AGING in parameters else BatchPolicy().aging_s,
        padding=padding_of(config),
        ordered=batching.preserve_ordering,
    )


def _levels(batching: ModelDynamicBatching, default: QueuePolicy) -> tuple[QueuePolicy, ...]:
    own = batching.priority_queue_policy
    numbers = range(1, max(1, batching.priority_levels) + 1)
    return tuple(_queue(own[number]) if number in own else default for number in numbers)


def _queue(policy: ModelQueuePolicy) -> QueuePolicy:
    return QueuePolicy(
        policy.max_queue_size or DEFAULT_MAX_QUEUE,
        policy.default_timeout_microseconds / 1e6,
        TimeoutAction(policy.timeout_action),
        policy.allow_timeout_override,
    )


@dataclass(slots=True)  # not frozen: that would triple the time to make one, and each request makes one
class Timing:
    """When a request is wanted: finished by `deadline`, begun by `start_by` or else delayed."""

    level: int
    deadline: float
    start_by: float
    delays: bool


class Timings:
    """Reads the requests of one model for how they may wait."""

    def __init__(self, model: str, policy: BatchPolicy) -> None:
        self._model = model
        self._policy = policy
        self._queues = policy.queues()

    def of(self, parameters: Mapping[str, Any], call: Call) -> Timing:
        """By the parameters `priority` and `timeout` (microseconds), the level's policy and the call.

        Raises PARAMETER_INVALID. A priority of 0, or past the levels, is the default one's;
        a timeout counts where the level allows one, and may only shorten the level's own.
        """
        level = self._policy.default_level
        if "priority" in parameters:
            level = self._policy.level_of(self._number("priority", parameters["priority"]))
        queue = self._queues[level - 1]
        timeout = queue.timeout_s
        if "timeout" in parameters:
            wanted = self._number("timeout", parameters["timeout"]) * 1e-6
            if queue.allow_override and wanted:
                timeout = min(timeout or inf, wanted)
        delays = timeout > 0 and queue.action is TimeoutAction.DELAY
        deadline = call.deadline
        if deadline is None:
            deadline = call.arrived + (LONGEST_DELAY_S if delays else max(queue.timeout_s, DEFAULT_TIMEOUT_S))
        return Timing(level, deadline, call.arrived + timeout if timeout else inf, delays)

    def of_step(self, priority: int, start_by: float, now: float) -> tuple[int, float, bool]:
        """The level of an ensemble's step, by when it is to begin, and whether it is delayed then.

        As a direct request of this model that arrives `now`, with the ensemble's
        request's own `priority` (0: none) and `start_by`.
        """
        level = self._policy.level_of(priority)
        queue = self._queues[level - 1]
        if queue.timeout_s:
            start_by = min(start_by, now + queue.timeout_s)
        return level, start_by, start_by < inf and queue.action is TimeoutAction.DELAY

    def _number(self, name: str, parameter: Any) -> int:
        kind = parameter.WhichOneof("parameter_choice")
        if kind not in ("int64_param", "uint64_param"):
            raise parameter_invalid(
                self._model, name, f"expected int64_param or uint64_param, got {kind or 'nothing'}"
            )
        number = int(getattr(parameter, kind))
        if number < 0:
            raise parameter_invalid(self._model, name, f"expected 0 or more, got {number}")
        return number
