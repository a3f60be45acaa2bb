"""The five-byte prefix, and gzip that can't grow beyond its claim."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.runtime.ingress.core.faults import WireFault
from headrace.runtime.ingress.core.framing import inflate, inflated_size, parse_prefix

LIMIT = 1000


@example(LIMIT, False)
@example(LIMIT + 1, True)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_the_limit_is_sharp(length: int, compressed: bool) -> None:
    """A prefix gives flag and length up to the limit, and is refused above it."""
    prefix = bytes([compressed]) + length.to_bytes(4, "big")
    if length <= LIMIT:
        assert parse_prefix(prefix, LIMIT) == (compressed, length)
    else:
        with pytest.raises(WireFault) as refused:
            parse_prefix(prefix, LIMIT)
        assert refused.value.reason == "MESSAGE_TOO_LARGE"


@given(st.integers(2, 255))
def test_an_unknown_flag_is_refused(flag: int) -> None:
    """Only 0 and 1 are flags."""
    with pytest.raises(WireFault, match="flag"):
        parse_prefix(bytes([flag, 0, 0, 0, 0]), LIMIT)


@given(st.binary(max_size=LIMIT))
def test_gzip_inflates_to_what_was_packed(data: bytes) -> None:
    """A valid stream gives its size, then its message."""
    packed = gzip.compress(data)
    assert inflated_size(packed, LIMIT) == len(data)
    assert inflate(packed, len(data)) == data


def test_a_bomb_that_tells_its_size_is_refused_unread() -> None:
    """The stream's own claim is enough to refuse it."""
    with pytest.raises(WireFault) as refused:
        inflated_size(gzip.compress(bytes(LIMIT + 1)), LIMIT)
    assert refused.value.reason == "MESSAGE_TOO_LARGE"


@given(st.integers(0, LIMIT), st.integers(0, 100_000))
def test_a_bomb_that_lies_makes_no_more_than_it_claimed(claimed: int, real: int) -> None:
    """A forged size is found out; nothing beyond it is inflated."""
    packed = gzip.compress(bytes(real))[:-4] + claimed.to_bytes(4, "little")
    if claimed == real:
        assert len(inflate(packed, claimed)) == real
    else:
        with pytest.raises(WireFault):
            inflate(packed, claimed)


@given(st.binary(max_size=200))
def test_garbage_is_a_fault_of_the_callers(data: bytes) -> None:
    """Whatever is no gzip is refused as that, never by another exception."""
    with pytest.raises(WireFault):
        inflate(data, inflated_size(data, LIMIT))


@pytest.mark.parametrize("cut", [1, 8, 12])
def test_a_stream_cut_short_is_refused(cut: int) -> None:
    """An end that is missing is not made up for."""
    data = b"tensor" * 20
    with pytest.raises(WireFault):
        inflate(gzip.compress(data)[:-cut], len(data))


def test_nothing_may_follow_the_stream() -> None:
    """A second gzip member or stray bytes would hide a second message."""
    data = b"tensor"
    with pytest.raises(WireFault):
        inflate(gzip.compress(data) + gzip.compress(b""), len(data))


def test_a_bomb_takes_no_memory() -> None:
    """Refusing 64 MiB of zeros that claim to be nothing costs less than one of them."""
    packed = gzip.compress(bytes(64 << 20))[:-4] + bytes(4)
    tracemalloc.start()
    with pytest.raises(WireFault):
        inflate(packed, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_zlib_without_gzip_is_refused() -> None:
    """grpc-encoding says gzip, so deflate alone is not taken."""
    with pytest.raises(WireFault):
        inflate(zlib.compress(b"tensor"), 6)
