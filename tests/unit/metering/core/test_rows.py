"""Events as rows of a file."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.metering.core.bounds import MAX_BYTES, MAX_STORED_MS, MAX_TIME_MS, MAX_TIME_NS
from headrace.metering.core.rows import FORMAT, KEY_BYTES, NO_KEY, ROW_BYTES, hashed, packed, valid
from headrace.metering.usage import UsageKind
from tests.fakes.metering import event

numbers = st.integers(-(2**70), 2**70)


@given(numbers, numbers, numbers, numbers)
def test_numbers_out_of_bounds_are_brought_back(cpu: int, size: int, stored: int, time: int) -> None:
    """A clock that goes wrong must not cost the event: each number becomes the nearest that is allowed."""
    row = packed(1, event(cpu_ns=cpu, request_bytes=size, stored_ms=stored, time_ms=time), 0)
    found = np.frombuffer(row, FORMAT)[0]
    for name, value, bound in (
        ("cpu_ns", cpu, MAX_TIME_NS),
        ("request_bytes", size, MAX_BYTES),
        ("stored_ms", stored, MAX_STORED_MS),
        ("time_ms", time, MAX_TIME_MS),
    ):
        assert found[name] == min(max(value, 0), bound)


def test_a_row_holds_its_event() -> None:
    """Every number stands in its column, keys as hashes of 16 bytes."""
    one = event(b"key", kind=UsageKind.CACHED, digest=b"request", cpu_ns=3, gpu_ns=4, stored_bytes=5)
    row = np.frombuffer(packed(7, one, 2), FORMAT)[0]
    assert len(packed(7, one, 2)) == ROW_BYTES
    assert [int(row[name]) for name in ("name", "kind", "rows", "price_version", "cpu_ns", "gpu_ns", "stored_bytes")] == [7, 2, 1, 2, 3, 4, 5]  # fmt: skip
    assert bytes(row["billing_key"]) == hashed(b"key")
    assert bytes(row["digest"]) == hashed(b"request")
    assert hashed(b"") == NO_KEY
    assert len(hashed(b"x" * 1000)) == KEY_BYTES


@given(st.integers(0, ROW_BYTES - 1), st.integers(1, 255))
def test_a_damaged_row_is_seen(place: int, change: int) -> None:
    """Any byte that differs, and a row that was never written, fail the checksum."""
    row = bytearray(packed(1, event(b"key"), 1))
    assert valid(bytes(row)) == [True]
    row[place] ^= change
    assert valid(bytes(row) + bytes(ROW_BYTES)) == [False, False]
