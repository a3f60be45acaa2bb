"""Triton's words for waiting: what a configuration and a request's parameters make of a request."""

from math import inf

import pytest

from headrace.inference.batching import Timing, Timings, policy_of
from headrace.inference.core.policy import QueuePolicy, TimeoutAction
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.inference.v2.model_config_pb2 import ModelConfig, ModelDynamicBatching, ModelQueuePolicy
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import ANONYMOUS, Call

THREE = ModelConfig(
    max_batch_size=8,
    dynamic_batching=ModelDynamicBatching(
        priority_levels=3,
        default_priority_level=2,
        default_queue_policy=ModelQueuePolicy(
            max_queue_size=5, default_timeout_microseconds=1_000_000, allow_timeout_override=True
        ),
        priority_queue_policy={
            1: ModelQueuePolicy(max_queue_size=2),
            3: ModelQueuePolicy(timeout_action=ModelQueuePolicy.DELAY, default_timeout_microseconds=2_000),
        },
    ),
)


def timing(deadline: float | None = None, **parameters: int) -> Timing:
    """A request that arrived at 100 s; parameters are int64."""
    request = ModelInferRequest()
    for name, value in parameters.items():
        request.parameters[name].int64_param = value
    call = Call("/test", {}, ANONYMOUS, 100.0, deadline)
    return Timings("m", policy_of(THREE)).of(request.parameters, call)


def test_each_level_has_its_own_policy_or_the_default() -> None:
    """A level without one in priority_queue_policy has default_queue_policy."""
    assert policy_of(THREE).queues() == (
        QueuePolicy(2),
        QueuePolicy(5, 1.0, TimeoutAction.REJECT, allow_override=True),
        QueuePolicy(4096, 0.002, TimeoutAction.DELAY),
    )


@pytest.mark.parametrize(("priority", "level"), [(0, 2), (1, 1), (2, 2), (3, 3), (4, 2), (2**62, 2)])
def test_a_priority_that_is_none_is_the_default(priority: int, level: int) -> None:
    """0, and what is past priority_levels, as Triton takes it."""
    assert timing(priority=priority).level == level


@pytest.mark.parametrize("kind", ["int64_param", "uint64_param"])
def test_numbers_come_in_either_kind(kind: str) -> None:
    """Clients send priority and timeout as int64 or as uint64."""
    request = ModelInferRequest()
    setattr(request.parameters["priority"], kind, 2)
    setattr(request.parameters["timeout"], kind, 500_000)
    call = Call("/test", {}, ANONYMOUS, 100.0)
    found = Timings("m", policy_of(THREE)).of(request.parameters, call)
    assert (found.level, found.start_by) == (2, 100.5)


def test_a_timeout_shortens_and_never_lengthens() -> None:
    """allow_timeout_override; 0 is none."""
    assert timing(timeout=500_000).start_by == 100.5
    assert timing(timeout=5_000_000).start_by == 101.0
    assert timing(timeout=0).start_by == 101.0


def test_a_level_that_allows_no_override_has_none() -> None:
    """The parameter is passed over."""
    assert timing(priority=1, timeout=1).start_by == inf
    assert timing(priority=3, timeout=1).start_by == 100.002


def test_a_delayed_request_has_its_callers_deadline() -> None:
    """The level's timeout puts it back and does not end it."""
    assert timing(105.0, priority=3) == Timing(3, 105.0, 100.002, delays=True)
    assert timing(priority=3).deadline == 3700.0


def test_a_queues_timeout_holds_beside_a_longer_deadline() -> None:
    """It bounds the wait, the deadline the whole."""
    assert timing(120.0) == Timing(2, 120.0, 101.0, delays=False)
    assert timing().deadline == 130.0


@pytest.mark.parametrize(
    ("name", "kind", "value", "words"),
    [
        ("priority", "string_param", "1", "expected int64_param or uint64_param, got string_param"),
        ("timeout", "double_param", 1.0, "expected int64_param or uint64_param, got double_param"),
        ("priority", "int64_param", -1, "expected 0 or more, got -1"),
        ("timeout", "int64_param", -5, "expected 0 or more, got -5"),
        ("timeout", "bool_param", True, "got bool_param"),
    ],
)
def test_what_is_no_number_is_named(name: str, kind: str, value: object, words: str) -> None:
    """PARAMETER_INVALID with the field."""
    request = ModelInferRequest()
    setattr(request.parameters[name], kind, value)
    call = Call("/test", {}, ANONYMOUS, 100.0)
    with pytest.raises(HeadraceError) as error:
        Timings("m", policy_of(THREE)).of(request.parameters, call)
    assert error.value.reason == "PARAMETER_INVALID"
    assert words in error.value.message
    assert error.value.metadata == {"model": "m", "field": f"parameters[{name}]"}
