"""Secrets in attributes that leave insight."""

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from headrace.insight.core.secrets import REDACTED, redact


def redacted(key: str, value: AnyValue) -> AnyValue:
    """The value as it leaves."""
    attribute = KeyValue(key=key, value=value)
    redact([attribute])
    return attribute.value


@pytest.mark.parametrize("key", ["authorization", "db.password", "x-api-key", "k" * 500])
@pytest.mark.parametrize(
    "value", [AnyValue(string_value="canary"), AnyValue(int_value=7), AnyValue(array_value=ArrayValue())]
)
def test_a_secret_of_any_type_is_replaced(key: str, value: AnyValue) -> None:
    """Nothing of it is left, whatever form it has."""
    assert redacted(key, value) == AnyValue(string_value=REDACTED)


def test_a_url_loses_its_query() -> None:
    """And what is no text in such an attribute is replaced: its query could not be found."""
    assert redacted("url.full", AnyValue(string_value="http://h/p?key=canary")).string_value == "http://h/p"
    listed = AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="http://h/p?key=canary")]))
    assert redacted("url.full", listed) == AnyValue(string_value=REDACTED)


def test_everything_else_stays_as_it_was() -> None:
    """Counted tokens are no secret, and types are kept."""
    for value in (AnyValue(int_value=7), AnyValue(bool_value=True), AnyValue(string_value="a?b")):
        assert redacted("gen_ai.usage.input_tokens", value) == value
