"""Headers that can't be split, whoever fills them."""

from base64 import b64decode
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.ingress.core import encoding
from headrace.runtime.ingress.core.encoding import HeaderRefused

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1).map("headrace-".__add__)
PRINTABLE = st.text([chr(code) for code in range(0x20, 0x7F)])


def headers_of(answer: bytes) -> list[bytes]:
    """The header lines of an answer's head."""
    return answer.split(b"\r\n\r\n", 1)[0].split(b"\r\n")[1:]


@given(st.lists(st.tuples(NAMES, PRINTABLE)))
def test_each_pair_is_one_line(pairs: list[tuple[str, str]]) -> None:
    """Printable metadata leaves as it is, one line each."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    assert encoding.fields(pairs) == lines.encode()


@given(NAMES, PRINTABLE, st.characters().filter(lambda c: not 0x20 <= ord(c) < 0x7F), PRINTABLE)
def test_a_value_with_anything_else_is_refused(name: str, before: str, odd: str, after: str) -> None:
    """No control character, no byte above ASCII gets into a header's value."""
    with pytest.raises(HeaderRefused):
        encoding.fields([(name, before + odd + after)])


@pytest.mark.parametrize("value", ["\r", "\n", "\0", "a\r\nx: 1", "a\r\n\r\nHTTP/1.1 200 OK"])
def test_line_ends_and_nul_are_refused_in_every_place(value: str) -> None:
    """CR, LF and NUL pass neither as initial nor as trailing metadata, in a name nor in a value."""
    for pair in (("headrace-x", value), (f"headrace-{value}", "x")):
        with pytest.raises(HeaderRefused):
            encoding.unary(b"", [pair], [], close=False)
        with pytest.raises(HeaderRefused):
            encoding.unary(b"", [], [pair], close=False)
        with pytest.raises(HeaderRefused):
            encoding.stream_head([pair], close=False)
        with pytest.raises(HeaderRefused):
            encoding.stream_end(0, "", b"", [pair])
    with pytest.raises(HeaderRefused):
        encoding.failure(13, "", b"", [("retry-after", value)], close=False)


@pytest.mark.parametrize(
    "name", ["", "Upper", "with space", "a:b", "grpc-status", "grpc-message", "content-length", "connection",
             "transfer-encoding", "content-type", "te", "trailer", "x-envoy-ratelimited"]
)  # fmt: skip
def test_names_that_are_no_handlers_are_refused(name: str) -> None:
    """A handler can't write what frames the answer or tells its status."""
    with pytest.raises(HeaderRefused):
        encoding.fields([(name, "1")])


@given(st.text(max_size=encoding.MESSAGE_CHARACTERS))
def test_any_message_survives_percent_encoding(message: str) -> None:
    """`grpc-message` is printable ASCII and decodes to what was said."""
    encoded = encoding.percent_encoded(message)
    assert encoded.isascii()
    assert encoded.isprintable()
    expected = message.encode("utf-8", "replace").decode()
    assert unquote(encoded) == expected


@given(st.text(), st.binary(max_size=2000))
def test_a_failure_is_all_head(message: str, details: bytes) -> None:
    """A failure is header-only and fits a client's 8 KiB of metadata, whatever it says."""
    answer = encoding.failure(5, message, details, [], close=False)
    lines = headers_of(answer)
    assert answer.endswith(b"\r\ncontent-length: 0\r\n\r\n")
    assert b"grpc-status: 5" in lines
    assert len(answer) < 3 * encoding.MESSAGE_CHARACTERS + 8192
    told = [line.partition(b": ")[2] for line in lines if line.startswith(b"grpc-status-details-bin: ")]
    assert [b64decode(value + b"=" * (-len(value) % 4)) for value in told] == ([details] if details else [])
    assert not any(value.endswith(b"=") for value in told)


@given(st.binary(max_size=300))
def test_a_unary_answer_is_head_chunk_trailers(message: bytes) -> None:
    """One message: its frame as one chunk, then status and metadata as trailers."""
    answer = encoding.unary(message, [], [("headrace-cache", "miss")], close=False)
    frame = b"\0" + len(message).to_bytes(4, "big") + message
    head, rest = answer.split(b"\r\n\r\n", 1)
    assert b"transfer-encoding: chunked" in head
    assert rest == b"%x\r\n%s\r\n0\r\ngrpc-status: 0\r\nheadrace-cache: miss\r\n\r\n" % (len(frame), frame)


def test_a_last_answer_says_so() -> None:
    """`connection: close` stands in the head of each kind of answer that ends its connection."""
    for answer in (
        encoding.unary(b"", [], [], close=True),
        encoding.stream_head([], close=True),
        encoding.failure(14, "", b"", [], close=True),
        encoding.plain(200, "OK", b"ok", close=True),
    ):
        assert b"connection: close" in headers_of(answer)
