"""What becomes of spans as they arrive."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from headrace.insight.core import otlp
from headrace.insight.core.secrets import REDACTED
from headrace.insight.core.summary import size_of
from headrace.insight.spans import Link, Span
from tests.fakes.insight import SECOND, otlp_request, otlp_span, span_id, trace_id

LARGEST_SPAN_BYTES = 100_000


def convert(span: OtlpSpan) -> Span:
    """The span as it is stored."""
    grouped = otlp.by_trace([otlp_request(span)])
    ((received,),) = grouped.traces.values()
    return otlp.converted(received)


def attribute(key: str, **value: Any) -> KeyValue:
    """An attribute; `value` is a field of AnyValue."""
    return KeyValue(key=key, value=AnyValue(**value))


def test_a_span_keeps_what_the_wire_said() -> None:
    """Identifiers become hexadecimal digits; everything else stays as it came."""
    span = otlp_span(1, 2, parent=3, links=[(4, 5)])
    span.kind = OtlpSpan.SPAN_KIND_SERVER
    span.status.code = Status.STATUS_CODE_ERROR
    span.status.message = "deadline"
    assert convert(span) == Span(
        trace_id=f"{1:032x}",
        span_id=f"{2:016x}",
        parent_id=f"{3:016x}",
        service="inference",
        name="work-2",
        start_ns=SECOND,
        end_ns=2 * SECOND,
        kind=2,
        status=2,
        status_message="deadline",
        links=(Link(f"{4:032x}", f"{5:016x}"),),
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"string_value": "minilm"}, "minilm"),
        ({"int_value": -7}, "-7"),
        ({"double_value": 0.5}, "0.5"),
        ({"double_value": float("nan")}, "null"),
        ({"bool_value": True}, "true"),
        ({"bytes_value": b"\x00\xff"}, '"AP8="'),
        ({"array_value": ArrayValue(values=[AnyValue(int_value=1), AnyValue(string_value="a")])}, '[1,"a"]'),
        ({"kvlist_value": KeyValueList(values=[attribute("k", bool_value=False)])}, '{"k":false}'),
        ({}, "null"),
    ],
)
def test_attributes_are_text_or_json(value: dict[str, Any], text: str) -> None:
    """Text stays as it is; a value of another type takes its JSON form."""
    span = otlp_span(1, 2)
    span.attributes.append(attribute("key", **value))
    assert convert(span).attributes == {"key": text}


@pytest.mark.parametrize(
    ("identifiers"),
    [
        (b"", span_id(1)),
        (trace_id(1)[1:], span_id(1)),
        (trace_id(1) + b"\x00", span_id(1)),
        (bytes(16), span_id(1)),
        (trace_id(1), b""),
        (trace_id(1), bytes(8)),
        (trace_id(1), span_id(1) * 2),
    ],
)
def test_impossible_identifiers_cost_their_span_only(identifiers: tuple[bytes, bytes]) -> None:
    """A span that can't be found again is counted and left out; its neighbours are stored."""
    bad = OtlpSpan(trace_id=identifiers[0], span_id=identifiers[1])
    request = otlp_request(otlp_span(1, 1), bad, otlp_span(1, 2))
    grouped = otlp.by_trace([request])
    assert grouped.invalid == otlp.invalid_count(request) == 1
    assert [len(spans) for spans in grouped.traces.values()] == [2]
    assert otlp.span_count(request) == 3


@pytest.mark.parametrize("parent", [bytes(8), b"short", b"x" * 1000])
def test_an_impossible_parent_is_none(parent: bytes) -> None:
    """A span whose parent can't exist is shown as a root."""
    span = otlp_span(1, 2)
    span.parent_span_id = parent
    assert convert(span).parent_id == ""


def test_a_link_to_nowhere_is_left_out() -> None:
    """Links with impossible identifiers would only be noise in the store."""
    span = otlp_span(1, 2, links=[(3, 4)])
    span.links.add(trace_id=b"x", span_id=b"y")
    span.links.add(trace_id=bytes(16), span_id=bytes(8))
    assert convert(span).links == (Link(f"{3:032x}", f"{4:016x}"),)


@pytest.mark.parametrize("service", ["", "  \n"])
def test_a_process_without_a_name_is_unknown(service: str) -> None:
    """Every stored span has a service."""
    grouped = otlp.by_trace([otlp_request(otlp_span(1, 1), service=service)])
    assert [span.service for spans in grouped.traces.values() for span in spans] == ["unknown"]


def test_names_stay_on_their_line() -> None:
    """Line breaks and terminal sequences in a name can't forge a line or paint a terminal."""
    span = otlp_span(1, 2)
    span.name = "a\r\nb\x1b[31mc\u2028d"
    assert convert(span).name == "a  b [31mc d"


@pytest.mark.parametrize(
    "key", ["authorization", "http.request.header.Authorization", "api_key", "db.password", "x" * 500]
)
def test_what_is_named_like_a_secret_is_not_stored(key: str) -> None:
    """A canary in such an attribute never reaches the file; keys too long to judge count as secret."""
    span = otlp_span(1, 2)
    span.attributes.append(attribute(key, string_value="canary"))
    assert list(convert(span).attributes.values()) == [REDACTED]


def test_counted_tokens_are_no_secret() -> None:
    """Only a key that ends in the word is held for a secret."""
    span = otlp_span(1, 2)
    span.attributes.append(attribute("gen_ai.usage.input_tokens", int_value=7))
    assert convert(span).attributes == {"gen_ai.usage.input_tokens": "7"}


def test_the_query_of_a_url_is_cut_off() -> None:
    """A token in a URL's query does not reach the file."""
    span = otlp_span(1, 2)
    span.attributes.append(attribute("http.url", string_value="http://h/v2/models?token=canary"))
    assert convert(span).attributes == {"http.url": "http://h/v2/models"}


def test_huge_values_are_cut() -> None:
    """Megabytes of text, list, name and message become kilobytes."""
    span = otlp_span(1, 2)
    span.name = span.status.message = "n" * 10**6
    items = ArrayValue(values=[AnyValue(string_value="x" * 100)] * 1000)
    span.attributes.append(attribute("text", string_value="t" * 10**6))
    span.attributes.append(attribute("list", array_value=items))
    for number in range(1000):
        span.attributes.append(attribute(f"key-{number}", int_value=number))
        span.links.add(trace_id=trace_id(number + 1), span_id=span_id(1))
    converted = convert(span)
    assert len(converted.name) == otlp.MAX_NAME
    assert len(converted.status_message) == len(converted.attributes["text"]) == otlp.MAX_VALUE
    assert converted.attributes["list"].endswith(" bytes)")
    assert len(converted.attributes) == otlp.MAX_ATTRIBUTES
    assert len(converted.links) == otlp.MAX_LINKS


def nested(levels: int) -> AnyValue:
    """A list in a list, so many times."""
    value = AnyValue(int_value=1)
    for _ in range(levels):
        value = AnyValue(array_value=ArrayValue(values=[value]))
    return value


def test_deep_nesting_is_survived() -> None:
    """A list in a list in a list, as deep as the parser lets through, is stored as text."""
    span = otlp_span(1, 2)
    span.attributes.append(KeyValue(key="deep", value=nested(45)))
    sent = OtlpSpan.FromString(span.SerializeToString())
    assert convert(sent).attributes["deep"].startswith("[[[[")


values = st.recursive(
    st.one_of(
        st.builds(AnyValue, string_value=st.text(max_size=3000)),
        st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
        st.builds(AnyValue, double_value=st.floats()),
        st.builds(AnyValue, bytes_value=st.binary(max_size=3000)),
        st.builds(AnyValue),
    ),
    lambda inner: st.builds(AnyValue, array_value=st.builds(ArrayValue, values=st.lists(inner, max_size=5))),
    max_leaves=10,
)
otlp_spans = st.builds(
    OtlpSpan,
    trace_id=st.binary(max_size=20) | st.binary(min_size=16, max_size=16),
    span_id=st.binary(max_size=12) | st.binary(min_size=8, max_size=8),
    parent_span_id=st.binary(max_size=9),
    name=st.text(max_size=400),
    kind=st.integers(-1, 9),  # numbers that a newer sender may know
    start_time_unix_nano=st.integers(0, 2**64 - 1),
    end_time_unix_nano=st.integers(0, 2**64 - 1),
    attributes=st.lists(st.builds(KeyValue, key=st.text(max_size=200), value=values), max_size=8),
    links=st.lists(
        st.builds(OtlpSpan.Link, trace_id=st.binary(max_size=17), span_id=st.binary(max_size=9)), max_size=5
    ),
)


@given(st.lists(otlp_spans, max_size=6))
def test_whatever_arrives_is_either_counted_or_a_bounded_span(spans: list[OtlpSpan]) -> None:
    """No span is lost or invented; each converted one is bounded, and SQLite can hold its numbers."""
    grouped = otlp.by_trace([otlp_request(*spans)])
    converted = [otlp.converted(span) for group in grouped.traces.values() for span in group]
    assert len(converted) + grouped.invalid == len(spans)
    for span in converted:
        assert 0 <= span.start_ns <= span.end_ns < 2**63
        assert len(span.trace_id) == 32
        assert len(span.span_id) == 16
        assert len(span.parent_id) in (0, 16)
        assert span.service
        assert size_of(span) <= LARGEST_SPAN_BYTES
        assert all(isinstance(value, str) for value in span.attributes.values())
