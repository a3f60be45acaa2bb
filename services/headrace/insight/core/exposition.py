"""Prometheus' text format, read only where it says something that is wanted.

A process tells hundreds of lines and a dozen are of use here: the others are
passed over by their name. Lines that can't be read are passed over too.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import NamedTuple

_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*")
# Possessive: what a repetition could go back to is remembered, a hundred bytes for each of the text's.
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]++|\\.)*+)"')
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
    for begun in _beginnings(frozenset(wanted)).finditer(text):
        end = text.find("\n", begun.start())
        parsed = _LINE.fullmatch(text, begun.start(), end if end >= 0 else len(text))
        if parsed is None:
            continue
        name = parsed[1]
        rule = wanted[name]
        value = _number(parsed[3])
        labels = dict(_labels(parsed[2] or ""))
        if value is None or any(labels.get(label) != needed for label, needed in rule.only):
            continue
        if not labels.keys() >= set(rule.labels):
            continue  # not the metric of this name that we know
        series = Series(name, tuple(labels[label] for label in rule.labels))
        found[series] = found.get(series, 0.0) + value
    return found


@lru_cache(maxsize=64)
def _beginnings(names: frozenset[str]) -> re.Pattern[str]:
    """Finds the lines of these metrics; by itself, since a process tells hundreds of others each time."""
    one_of = "|".join(map(re.escape, sorted(names))) or "(?!)"
    return re.compile(rf"^(?:{one_of})(?=[{{ \t])", re.MULTILINE)


def _labels(text: str) -> Iterable[tuple[str, str]]:
    for name, value in _LABEL.findall(text):
        yield name, _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), value)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None
