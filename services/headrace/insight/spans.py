"""What a span is: to the store, to the servicer, to the client and to whoever draws it.

Plain values without behaviour; part of what neighbours may import.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

ERROR = 2
"""OpenTelemetry's status code of a span that failed."""
TENANT = "headrace.tenant"
"""The attribute that names the tenant whose request a span belongs to."""


class Link(NamedTuple):
    """The span that another one points to, as lower-case hexadecimal digits."""

    trace_id: str
    span_id: str


@dataclass(frozen=True, slots=True)
class Span:
    """One timed piece of work. Identifiers are lower-case hexadecimal digits.

    `parent_id` is empty for a root. `kind` and `status` are OpenTelemetry's
    numbers. Times count nanoseconds since 1970, and `end_ns >= start_ns`.
    """

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    start_ns: int
    end_ns: int
    kind: int = 0
    status: int = 0
    status_message: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    links: tuple[Link, ...] = ()

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.start_ns

    @property
    def failed(self) -> bool:
        return self.status == ERROR


@dataclass(frozen=True, slots=True)
class Trace:
    """The spans of one trace, and spans of other traces linked from or to them."""

    spans: tuple[Span, ...]
    linked: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """One line of a list of traces; `root_*` is of the earliest span while no root is stored.

    `model` is one that a span of it worked for; empty when none did.
    """

    trace_id: str
    root_name: str
    root_service: str
    start_ns: int
    end_ns: int
    span_count: int
    failed: bool
    model: str = ""
