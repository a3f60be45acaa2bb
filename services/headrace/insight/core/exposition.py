"""Prometheus' text format, read only where it says something that is wanted.

A process tells hundreds of lines and a dozen are of use here: the others are
passed over by their name. Lines that can't be read are passed over too.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n"}


class Series(NamedTuple):
    """A metric's name, and the values of the labels that are kept, in their order."""

    name: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The labels of a metric that tell its series apart; what differs in others only is added up."""

    labels: tuple[str, ...] = ()
    gauge: bool = False
    only: tuple[tuple[str, str], ...] = ()
    """Labels and the values that they must have."""


def read(text: str, wanted: Mapping[str, Wanted]) -> dict[Series, float]:
    """The wanted series of a process's metrics."""
    found: dict[Series, float] = {}
    for line in text.split("\n"):
        name = line.split("{", 1)[0].split(" ", 1)[0]
        rule = wanted.get(name)
        if rule is None or (parsed := _LINE.fullmatch(line)) is None:
            continue
        value = _number(parsed[3])
        labels = dict(_labels(parsed[2] or ""))
        if value is None or any(labels.get(label) != needed for label, needed in rule.only):
            continue
        if not labels.keys() >= set(rule.labels):
            continue  # not the metric of this name that we know
        series = Series(name, tuple(labels[label] for label in rule.labels))
        found[series] = found.get(series, 0.0) + value
    return found


def _labels(text: str) -> Iterable[tuple[str, str]]:
    for name, value in _LABEL.findall(text):
        yield name, _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), value)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None
