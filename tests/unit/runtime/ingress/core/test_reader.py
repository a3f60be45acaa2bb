"""A request read off any slicing of its bytes, and bounded in all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.ingress.core.reader import RequestReader

LIMIT = 500
HEAD = b"POST /a.B/C HTTP/1.1\r\nhost: x\r\nX-Tenant-Id: t\r\n"


def reader(max_headers: int = 10, max_header_bytes: int = 400) -> RequestReader:
    """A reader with small bounds."""
    return RequestReader(max_headers, max_header_bytes, LIMIT)


def frame(message: bytes) -> bytes:
    """The gRPC frame of a message."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def chunked(body: bytes, trailers: bytes = b"", size: int = 1000) -> bytes:
    """A request whose body comes in chunks of `size`."""
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    coded = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return HEAD + b"transfer-encoding: chunked\r\n\r\n" + coded + b"0\r\n" + trailers + b"\r\n"


def sized(body: bytes) -> bytes:
    """A request whose body's length is told."""
    return HEAD + b"content-length: %d\r\n\r\n" % len(body) + body


@given(st.binary(max_size=LIMIT), st.booleans(), st.lists(st.integers(1, 60)), st.integers(1, 600))
def test_any_slicing_reads_the_same(message: bytes, told: bool, cuts: list[int], chunk: int) -> None:
    """Where reads and chunks end decides nothing."""
    request = sized(frame(message)) if told else chunked(frame(message), size=chunk)
    one = reader()
    for cut in cuts:
        assert one.feed(request[:cut])
        request = request[cut:]
    if request:
        assert one.feed(request)
    assert one.complete
    assert one.fault is None
    assert one.path == b"/a.B/C"
    assert one.headers[:2] == [(b"host", b"x"), (b"x-tenant-id", b"t")]
    assert one.expected == len(message) + 5
    assert one.message() == message


@pytest.mark.parametrize("trailers", [b"x-tenant-id: evil\r\n", b"X-Tenant-Id: evil\r\nx-more: 1\r\n"])
def test_trailers_are_no_headers(trailers: bytes) -> None:
    """Not of the request that they follow, and not of the next one on the connection."""
    one = reader()
    assert one.feed(chunked(frame(b"m"), trailers))
    assert one.complete
    assert [value for name, value in one.headers if name == b"x-tenant-id"] == [b"t"]
    one.reset()
    assert one.feed(chunked(frame(b"m")))
    assert [value for name, value in one.headers if name == b"x-tenant-id"] == [b"t"]
    assert len(one.headers) == 3


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 1])
def test_a_message_above_the_limit_is_refused_by_its_prefix(size: int) -> None:
    """Five bytes of body are enough to refuse what is too long."""
    one = reader()
    body = frame(bytes(size))
    assert one.feed(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body[:5])
    assert (one.fault is not None) == (size > LIMIT)
    assert (one.expected is None) == (size > LIMIT)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (b"", "ends"),
        (b"\0\0\0", "ends"),
        (frame(b"four")[:-1], "ends"),
        (frame(b"1") + frame(b"2"), "more than one"),
    ],
)
def test_a_body_that_is_not_one_message_is_a_fault(body: bytes, wrong: str) -> None:
    """Too little is as wrong as too much."""
    one = reader()
    assert one.feed(sized(body))
    assert wrong in str(one.fault)


@pytest.mark.parametrize(("count", "fine"), [(7, True), (8, True), (9, False)])
def test_headers_are_counted(count: int, fine: bool) -> None:
    """One header above the limit is refused (the request has three of its own)."""
    one = reader(max_headers=11, max_header_bytes=4000)
    more = b"".join(b"x-%d: 1\r\n" % index for index in range(count))
    assert one.feed(HEAD + more + b"content-length: 5\r\n\r\n" + frame(b""))
    assert (one.fault is None) == fine


@pytest.mark.parametrize(
    "endless",
    [HEAD + b"x-a: ", HEAD + b"x-", b"POST /", HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\nx-trailer: "],
)
def test_what_never_ends_is_given_up(endless: bytes) -> None:
    """A value, name, path or trailer that goes on and on is refused soon after the limit."""
    one = reader()
    assert one.feed(endless)
    for _ in range(10):
        if one.fault is None:
            assert one.feed(b"a" * 100)
    assert one.fault is not None


@pytest.mark.parametrize(
    "data",
    [
        b"no http\r\n\r\n",
        sized(frame(b"1")) + sized(frame(b"2")),
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n",
        HEAD + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n",
        HEAD + b"x-a: b\rc\r\n\r\n",
        HEAD + b"x-a: b\0c\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["garbage", "pipelined", "two lengths", "two unlike lengths", "upgrade", "cr", "nul", "chunk"],
)
def test_what_could_be_read_two_ways_breaks_the_connection(data: bytes) -> None:
    """No answer is given to bytes that another parser may take for something else."""
    assert not reader().feed(data)


def test_tiny_chunks_are_no_headers() -> None:
    """A client may send its message a byte at a time: framing is not counted as headers."""
    one = reader()
    assert one.feed(chunked(frame(bytes(LIMIT)), size=1))
    assert one.fault is None
    assert one.complete
