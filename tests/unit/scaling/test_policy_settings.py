"""The policy's variables: defaults of the specification, every mistake at once."""

import pytest

from headrace.runtime.settings import SettingsError
from headrace.scaling.core.conditions import Threshold
from headrace.scaling.core.signals import Signal
from headrace.scaling.settings import Settings


def test_the_defaults_are_the_specifications() -> None:
    """G2, G3 and G4."""
    policy = Settings.read({}).policy
    assert policy.auto
    assert (policy.rules.least, policy.rules.most, policy.rules.cooldown_s) == (1, 10, 300.0)
    assert policy.thresholds == {
        Signal.CPU: Threshold(0.7, 0.3),
        Signal.MEMORY: Threshold(0.8, 0.4),
        Signal.GPU: Threshold(0.85, 0.4),
        Signal.RESPONSE_TIME: Threshold(2.0, 0.5),
        Signal.QUEUE: Threshold(50.0, 5.0),
    }


def test_every_mistake_is_told() -> None:
    """Values that are none, and values that do not go together."""
    with pytest.raises(SettingsError) as raised:
        Settings.read(
            {
                "HEADRACE_SCALING_MIN": "5",
                "HEADRACE_SCALING_MAX": "4",
                "HEADRACE_SCALING_INTERVAL_S": "20",
                "HEADRACE_SCALING_DOWN_CPU": "0.9",
                "HEADRACE_SCALING_UP_QUEUE": "many",
                "HEADRACE_SCALING_UP_DISK": "0.5",
            }
        )
    told = "\n".join(raised.value.problems)
    for name in ("MIN", "STALE_S", "DOWN_CPU", "UP_QUEUE", "UP_DISK"):
        assert f"HEADRACE_SCALING_{name}: " in told
    assert len(raised.value.problems) == 5
