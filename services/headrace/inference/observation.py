"""Triton's log and trace settings, as far as there is something behind them here.

A setting that changes nothing is refused by name, never taken and ignored.
"""

from collections.abc import Mapping, Sequence

from headrace.inference.control_errors import setting_invalid
from headrace.runtime.logs import LogSwitch, Verbosity
from headrace.runtime.telemetry import Telemetry

LogValue = bool | int | str
MAX_VERBOSE = 2**32 - 1
MAX_RATE = 10**9

OFF, TIMESTAMPS = "OFF", "TIMESTAMPS"
FIXED = {"trace_mode": ["opentelemetry"], "trace_count": ["-1"]}
"""Settings that have one value here."""


class LogSettings:
    """`log_info`, `log_warning`, `log_error`, `log_verbose_level`."""

    def __init__(self, switch: LogSwitch) -> None:
        self._switch = switch

    def told(self) -> dict[str, LogValue]:
        """What is set."""
        now = self._switch.verbosity
        return {
            "log_info": now.info,
            "log_warning": now.warning,
            "log_error": now.error,
            "log_verbose_level": now.verbose,
        }

    def check(self, settings: Mapping[str, LogValue]) -> None:
        """Raises SETTING_INVALID."""
        known = self.told()
        for name, value in settings.items():
            if name not in known:
                raise setting_invalid(name, f"expected one of {list(known)}")
            if name == "log_verbose_level":
                if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_VERBOSE:
                    raise setting_invalid(name, f"expected a whole number of 0 or more, got {value!r}")
            elif not isinstance(value, bool):
                raise setting_invalid(name, f"expected true or false, got {value!r}")

    def set(self, settings: Mapping[str, LogValue]) -> None:
        """Sets what is named and leaves the rest; raises SETTING_INVALID, and then has set nothing."""
        self.check(settings)
        now = {**self.told(), **settings}
        self._switch.verbosity = Verbosity(
            bool(now["log_info"]),
            bool(now["log_warning"]),
            bool(now["log_error"]),
            int(now["log_verbose_level"]),
        )


class TraceSettings:
    """`trace_level` (OFF: no span, whatever the caller's trace says) and `trace_rate` (of traces that begin here)."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        ratio = telemetry.sample_ratio
        self._initial = {
            "trace_level": [TIMESTAMPS if ratio else OFF],
            "trace_rate": [str(round(1 / ratio)) if ratio else str(MAX_RATE)],
        }
        self._now = dict(self._initial)
        self._ratio = ratio

    def told(self) -> dict[str, list[str]]:
        """What is set."""
        return {**self._now, **FIXED}

    def check(self, settings: Mapping[str, Sequence[str]]) -> None:
        """Raises SETTING_INVALID."""
        for name, values in settings.items():
            if name not in self._now and name not in FIXED:
                raise setting_invalid(name, f"expected one of {[*self._now, *FIXED]}")
            problem = _problem(name, list(values))
            if values and problem:
                raise setting_invalid(name, f"{problem}, got {list(values)}")

    def set(self, settings: Mapping[str, Sequence[str]]) -> None:
        """Sets what is named, to the start's value where it is empty; raises SETTING_INVALID, and then sets nothing."""
        self.check(settings)
        for name in settings.keys() & self._now.keys():
            self._now[name] = list(settings[name]) or self._initial[name]
        rate = self._now["trace_rate"]
        ratio = self._ratio if rate == self._initial["trace_rate"] else 1 / int(rate[0])
        self._telemetry.sample(ratio, recording=self._now["trace_level"] != [OFF])


def _problem(name: str, values: list[str]) -> str:
    """What was expected of a setting; empty when it is that."""
    if name in FIXED:
        return "" if values == FIXED[name] else f"expected {FIXED[name]}"
    if name == "trace_level":
        return "" if values in ([OFF], [TIMESTAMPS]) else f"expected {OFF} or {TIMESTAMPS}"
    rate = values[0] if len(values) == 1 else ""
    if rate.isascii() and rate.isdecimal() and 1 <= int(rate[:11]) <= MAX_RATE:
        return ""
    return f"expected a whole number from 1 to {MAX_RATE}"
