"""The policy's settings, part of `HEADRACE_SCALING_*`; the defaults are the specification's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from headrace.runtime.settings import SettingsReader
from headrace.scaling.core.conditions import Threshold
from headrace.scaling.core.policy import Rules
from headrace.scaling.core.signals import Signal

THRESHOLDS: Mapping[Signal, Threshold] = MappingProxyType(
    {
        Signal.CPU: Threshold(0.70, 0.30),
        Signal.MEMORY: Threshold(0.80, 0.40),
        Signal.GPU: Threshold(0.85, 0.40),
        Signal.RESPONSE_TIME: Threshold(2.0, 0.5),
        Signal.QUEUE: Threshold(50.0, 5.0),
    }
)
SMOOTHING = 3.0
"""The window is so many time constants of the smoothing."""


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """How the number of replicas is decided.

    `replicas` is the number to begin with. A decision is made each `interval_s`;
    a threshold has to be passed for `window_s`; a report older than `stale_s` is
    none. With `auto` off only an operator sets the number.
    """

    auto: bool = True
    replicas: int = 1
    rules: Rules = field(default_factory=Rules)
    interval_s: float = 5.0
    window_s: float = 30.0
    stale_s: float = 15.0
    thresholds: Mapping[Signal, Threshold] = field(default_factory=lambda: dict(THRESHOLDS))

    @property
    def smoothing_s(self) -> float:
        """The time constant of the smoothing."""
        return self.window_s / SMOOTHING

    @classmethod
    def read(cls, reader: SettingsReader) -> "PolicySettings":
        """Reports mistakes to the reader."""
        d, rules = cls(), Rules()
        least = reader.integer("MIN", rules.least, low=1, high=64)
        most = reader.integer("MAX", rules.most, low=1, high=64)
        settings = cls(
            auto=reader.flag("AUTO", default=d.auto),
            replicas=reader.integer("REPLICAS", d.replicas, low=1, high=64),
            rules=Rules(least, most, reader.number("COOLDOWN_S", rules.cooldown_s, low=0, high=86_400)),
            interval_s=reader.number("INTERVAL_S", d.interval_s, low=0.1, high=3600),
            window_s=reader.number("WINDOW_S", d.window_s, low=0, high=86_400),
            stale_s=reader.number("STALE_S", d.stale_s, low=0.2, high=86_400),
            thresholds={signal: _threshold(reader, signal) for signal in THRESHOLDS},
        )
        if least > most:
            reader.problem("MIN", f"must not be above HEADRACE_SCALING_MAX, which is {most}")
        if settings.stale_s < 2 * settings.interval_s:
            reader.problem("STALE_S", "must be at least twice HEADRACE_SCALING_INTERVAL_S")
        return settings


def _threshold(reader: SettingsReader, signal: Signal) -> Threshold:
    name, default = signal.value.upper(), THRESHOLDS[signal]
    up = reader.number(f"UP_{name}", default.up, low=0, high=1e6)
    down = reader.number(f"DOWN_{name}", default.down, low=0, high=1e6)
    if down >= up:
        reader.problem(f"DOWN_{name}", f"must be below HEADRACE_SCALING_UP_{name}, which is {up:g}")
    return Threshold(up, down)
