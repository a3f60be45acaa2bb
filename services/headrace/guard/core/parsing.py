"""The limits as `HEADRACE_GUARD_LIMITS` spells them."""

import json
import math
from collections.abc import Mapping
from typing import cast

from headrace.guard.core.limits import BreakerRule, LimitBook, Limits

_LIMITS = ("rate", "burst", "concurrency", "wait_ms")
MOST_REQUESTS = 10**9


class LimitsInvalid(Exception):
    """`problems` has a line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def parsed(text: str) -> LimitBook:
    """The limits of a JSON object; what it leaves out is as by default, and a tenant's as in the object.

    Raises `LimitsInvalid` with every mistake.
    """
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):  # nested too deeply
        raise LimitsInvalid(["must be a JSON object"]) from None
    problems: list[str] = []
    top = _object(whole, "", (*_LIMITS, "breaker", "tenants"), problems)
    default = _limits(top, "", Limits(), problems)
    tenants = _object(top.get("tenants", {}), "tenants", None, problems)
    book = LimitBook(
        default,
        {
            name: _limits(
                _object(entry, f"tenants.{name}", _LIMITS, problems), f"tenants.{name}.", default, problems
            )
            for name, entry in tenants.items()
        },
        _breaker(_object(top.get("breaker", {}), "breaker", ("failures", "open_s"), problems), problems),
    )
    if problems:
        raise LimitsInvalid(problems)
    return book


def _limits(entry: Mapping[str, object], where: str, default: Limits, problems: list[str]) -> Limits:
    return Limits(
        _number(entry, where, "rate", default.rate, 1e-6, problems),
        _whole(entry, where, "burst", default.burst, problems),
        _whole(entry, where, "concurrency", default.concurrency, problems),
        _number(entry, where, "wait_ms", default.wait_s * 1000, 0.0, problems) / 1000,
    )


def _breaker(entry: Mapping[str, object], problems: list[str]) -> BreakerRule:
    default = BreakerRule()
    return BreakerRule(
        _whole(entry, "breaker.", "failures", default.failures, problems),
        _number(entry, "breaker.", "open_s", default.open_s, 0.001, problems),
    )


def _object(
    value: object, where: str, known: tuple[str, ...] | None, problems: list[str]
) -> Mapping[str, object]:
    if not isinstance(value, dict):
        problems.append(f"{where or 'it'} must be a JSON object")
        return {}
    if known is not None:
        prefix = f"{where}." if where else ""
        names = ", ".join(known)
        problems += [f"{prefix}{key}: no such key; known are {names}" for key in value if key not in known]
    return cast("Mapping[str, object]", value)


def _number(
    entry: Mapping[str, object], where: str, key: str, default: float, low: float, problems: list[str]
) -> float:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        problems.append(f"{where}{key} must be a number, not {value!r}")
    elif not low <= value <= MOST_REQUESTS:
        problems.append(f"{where}{key} must be between {low:g} and {MOST_REQUESTS}, not {value:g}")
    else:
        return float(value)
    return default


def _whole(entry: Mapping[str, object], where: str, key: str, default: int, problems: list[str]) -> int:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        problems.append(f"{where}{key} must be a whole number, not {value!r}")
    elif not 1 <= value <= MOST_REQUESTS:
        problems.append(f"{where}{key} must be between 1 and {MOST_REQUESTS}, not {value}")
    else:
        return value
    return default
