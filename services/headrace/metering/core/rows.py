"""A usage event as a row of fixed size: what the outbox's files consist of.

Little-endian. A row that was never written is all zero; one that was written in
part, or lost with the power, fails its checksum.
"""

from collections.abc import Sequence
from hashlib import blake2b
from struct import Struct
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from headrace.metering.core.bounds import MAX_BYTES, MAX_STORED_MS, MAX_TIME_MS, MAX_TIME_NS
from headrace.metering.usage import UsageEvent

Rows = NDArray[np.void]

KEY_BYTES = 16
NO_KEY = bytes(KEY_BYTES)

FORMAT = np.dtype(
    [
        ("name", "<u4"),  # position in the outbox's names, from 1
        ("kind", "<u2"),
        ("code", "<u2"),
        ("rows", "<u4"),
        ("price_version", "<u4"),
        ("time_ms", "<u8"),
        ("cpu_ns", "<u8"),
        ("gpu_ns", "<u8"),
        ("request_bytes", "<u8"),
        ("response_bytes", "<u8"),
        ("stored_bytes", "<u8"),
        ("stored_ms", "<u8"),
        ("billing_key", "V16"),
        ("digest", "V16"),
        ("spare", "<u4"),
        ("check", "<u4"),
    ]
)
ROW_BYTES = FORMAT.itemsize
_CHECKED = ROW_BYTES - 4
_body = Struct("<IHHII7Q16s16sI").pack
_check = Struct("<I").pack
_EMPTY = blake2b(digest_size=KEY_BYTES)
_SMALL = 32
"""Numbers of so many bits are within every bound."""


def packed(name: int, event: UsageEvent, price_version: int) -> bytes:
    """The event's row. Numbers out of bounds are brought to the nearest bound."""
    times = (event.time_ms, event.cpu_ns, event.gpu_ns)
    sizes = (event.request_bytes, event.response_bytes, event.stored_bytes, event.stored_ms)
    code, rows = event.code, event.rows
    if _out_of_reach(event):
        times = _clipped(times, (MAX_TIME_MS, MAX_TIME_NS, MAX_TIME_NS))
        sizes = _clipped(sizes, (MAX_BYTES, MAX_BYTES, MAX_BYTES, MAX_STORED_MS))
        code, rows = _clipped((code, rows), (2**16 - 1, 2**32 - 1))
    body = _body(
        name,
        event.kind,
        code,
        rows,
        price_version,
        *times,
        *sizes,
        hashed(event.billing_key),
        hashed(event.digest),
        0,
    )
    return body + _check(crc32(body))


def hashed(key: bytes) -> bytes:
    """16 bytes that stand for the key; zeros for an empty one."""
    if not key:
        return NO_KEY
    digest = _EMPTY.copy()  # half the time that making one takes
    digest.update(key)
    return digest.digest()


def valid(data: bytes) -> list[bool]:
    """For each row of a file whether it was written, whole."""
    checks = np.frombuffer(data, FORMAT)["check"].tolist()
    view = memoryview(data)
    found = [crc32(view[at : at + _CHECKED]) for at in range(0, len(data), ROW_BYTES)]
    names = np.frombuffer(data, FORMAT)["name"].tolist()
    return [bool(name) and check == crc for name, check, crc in zip(names, checks, found, strict=True)]


def _out_of_reach(event: UsageEvent) -> bool:
    """Whether a number may be out of bounds: one look at all of them, on the hot path."""
    small: int = (
        event.cpu_ns
        | event.gpu_ns
        | event.request_bytes
        | event.response_bytes
        | event.stored_bytes
        | event.stored_ms
        | event.rows
        | event.code << 16
    )
    return bool(small >> _SMALL) or not 0 <= event.time_ms <= MAX_TIME_MS


def _clipped(values: Sequence[int], bounds: Sequence[int]) -> Any:
    return tuple(min(max(value, 0), bound) for value, bound in zip(values, bounds, strict=True))
