"""OTLP's spans as ours: grouped by trace, checked, and bounded.

Whatever arrives, a converted span has a bounded size, and no value of an
attribute that is named like a secret.
"""

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from headrace.insight.core.secrets import MAX_KEY, REDACTED, Treatment, treatment
from headrace.insight.spans import Link, Span

MAX_ATTRIBUTES = 64
MAX_LINKS = 128
MAX_NAME = 256
MAX_VALUE = 1024
MAX_COMPOSITE_BYTES = 4096
"""A list or map above this is not worth walking: its size is stored instead."""
MAX_TIME_NS = 2**63 - 1
"""SQLite's largest integer; OTLP's goes to 2**64 - 1."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Received(NamedTuple):
    """A span as it came, and of which process."""

    service: str
    instance: str
    span: OtlpSpan


@dataclass(slots=True)
class Grouped:
    """Spans by trace, in the order in which each trace was first seen."""

    traces: dict[bytes, list[Received]] = field(default_factory=dict)
    invalid: int = 0


def span_count(request: ExportTraceServiceRequest) -> int:
    """How many spans the request holds."""
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def invalid_count(request: ExportTraceServiceRequest) -> int:
    """How many of the request's spans have identifiers that no trace can have."""
    return sum(
        not is_valid(span)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    )


def by_trace(requests: Iterable[ExportTraceServiceRequest]) -> Grouped:
    """The spans of all requests by trace; those with impossible identifiers only counted."""
    grouped = Grouped()
    for request in requests:
        for resource_spans in request.resource_spans:
            service, instance = _process(resource_spans.resource)
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    if is_valid(span):
                        grouped.traces.setdefault(span.trace_id, []).append(Received(service, instance, span))
                    else:
                        grouped.invalid += 1
    return grouped


def linked_traces(spans: Iterable[Received]) -> set[bytes]:
    """The traces that these spans are linked to."""
    return {link.trace_id for received in spans for link in received.span.links[:MAX_LINKS]}


def converted(received: Received) -> Span:
    """The span in our form; `received` must come from `by_trace`."""
    span = received.span
    start = min(span.start_time_unix_nano, MAX_TIME_NS)
    attributes = _attributes(span.attributes)
    if received.instance:
        attributes["service.instance.id"] = received.instance
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=_parent(span),
        service=received.service,
        name=_line(span.name),
        start_ns=start,
        end_ns=max(start, min(span.end_time_unix_nano, MAX_TIME_NS)),
        kind=span.kind if 0 <= span.kind <= 5 else 0,
        status=span.status.code if 0 <= span.status.code <= 2 else 0,
        status_message=span.status.message[:MAX_VALUE],
        attributes=attributes,
        links=tuple(
            Link(link.trace_id.hex(), link.span_id.hex())
            for link in span.links[:MAX_LINKS]
            if _identifies(link.trace_id, 16) and _identifies(link.span_id, 8)
        ),
    )


def is_valid(span: OtlpSpan) -> bool:
    """Whether the span's identifiers are such that a trace can have."""
    return _identifies(span.trace_id, 16) and _identifies(span.span_id, 8)


def _identifies(identifier: bytes, size: int) -> bool:
    return len(identifier) == size and any(identifier)


def _parent(span: OtlpSpan) -> str:
    """An impossible parent is none: the span itself is good, and shown as a root."""
    return span.parent_span_id.hex() if _identifies(span.parent_span_id, 8) else ""


def _process(resource: Resource) -> tuple[str, str]:
    """The names of the service and of its instance."""
    named = {
        attribute.key: _line(attribute.value.string_value).strip()
        for attribute in resource.attributes[:MAX_ATTRIBUTES]
        if attribute.key in ("service.name", "service.instance.id")
    }
    return named.get("service.name") or "unknown", named.get("service.instance.id", "")


def _line(text: str) -> str:
    """Text that stays on its line in a terminal and a log."""
    return _CONTROL.sub(" ", text[:MAX_NAME])


def _attributes(attributes: Iterable[KeyValue]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for attribute in attributes:
        if len(kept) == MAX_ATTRIBUTES:
            break
        name, what = _key(attribute.key[: MAX_KEY + 1])
        match what:
            case "redact":
                kept[name] = REDACTED
            case "cut query":
                kept[name] = _text(attribute.value).partition("?")[0]
            case "keep":
                kept[name] = _text(attribute.value)
    return kept


@lru_cache(1024)
def _key(key: str) -> tuple[str, Treatment]:
    """The name under which an attribute is stored, and what to do with its value."""
    return _line(key[:MAX_KEY]), treatment(key)


def _text(value: AnyValue) -> str:
    """Text as it is, anything else as JSON, cut to its bound."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value[:MAX_VALUE]
    if kind in ("array_value", "kvlist_value") and value.ByteSize() > MAX_COMPOSITE_BYTES:
        return f"({value.ByteSize()} bytes)"
    return msgspec.json.encode(_plain(value)).decode()[:MAX_VALUE]


def _plain(value: AnyValue) -> object:
    """A JSON value. As deep as the message, which the parser bounds to 100 levels."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "bytes_value":
            return b64encode(value.bytes_value[:MAX_VALUE]).decode("ascii")
        case "array_value":
            return [_plain(item) for item in value.array_value.values]
        case "kvlist_value":
            return {item.key: _plain(item.value) for item in value.kvlist_value.values}
    return None
