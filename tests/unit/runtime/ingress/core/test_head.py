"""What a request's head says."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.ingress.core.faults import WireFault
from headrace.runtime.ingress.core.head import RequestMetadata, is_gzip, timeout_s

UNITS = {b"H": 3600, b"M": 60, b"S": 1, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


@given(st.integers(0, 99_999_999), st.sampled_from(sorted(UNITS)))
def test_a_timeout_is_number_and_unit(number: int, unit: bytes) -> None:
    """Up to eight digits and one of gRPC's six units."""
    assert timeout_s(b"%d%s" % (number, unit)) == pytest.approx(number * UNITS[unit])


@pytest.mark.parametrize(
    "text", [b"", b"S", b"1", b"123456789S", b"-1S", b"1.5S", b" 1S", b"1s", b"1S\n", b"1SS"]
)
def test_anything_else_is_no_timeout(text: bytes) -> None:
    """A malformed grpc-timeout is the caller's mistake, never "no deadline"."""
    with pytest.raises(WireFault, match="grpc-timeout"):
        timeout_s(text)


@given(st.binary(), st.booleans())
def test_binary_metadata_is_decoded(data: bytes, padded: bool) -> None:
    """`-bin` values arrive as bytes, with padding or without."""
    text = b64encode(data) if padded else b64encode(data).rstrip(b"=")
    assert RequestMetadata({b"a-bin": text})["a-bin"] == data


def test_metadata_reads_as_a_mapping() -> None:
    """Texts are texts, absent names are absent."""
    metadata = RequestMetadata({b"a": b"1", b"b": b"2"})
    assert "a" in metadata
    assert "c" not in metadata
    assert (metadata.get("a"), metadata.get("c"), metadata.get("c", "3")) == ("1", None, "3")
    assert dict(metadata) == {"a": "1", "b": "2"}
    assert metadata.get("c") is None
    assert len(metadata) == 2


def test_binary_metadata_that_is_none_is_refused() -> None:
    """A `-bin` value that is no base64 is told to the caller."""
    with pytest.raises(WireFault, match="base64"):
        RequestMetadata({b"a-bin": b"*"})["a-bin"]


def test_encodings() -> None:
    """We speak identity and gzip; the refusal of another names both."""
    assert is_gzip(b"gzip")
    assert not is_gzip(b"identity")
    with pytest.raises(WireFault) as refused:
        is_gzip(b"br")
    assert refused.value.reason == "ENCODING_UNSUPPORTED"
    assert refused.value.metadata["accepted"] == "identity,gzip"
