"""The stored form of an entry outside this process, sealed: bytes that were changed, moved or forged are refused.

    magic 4 | version 1 | codec 1 | reserved 2 | end, wall clock in ms 8 | length 8 | key 32 | checksum 32 | value

Integers are little-endian. The checksum is keyed BLAKE3 over all that stands
before and after it. Nothing in it is executed or unpacked: a value is the bytes
that were put.
"""

import struct
from dataclasses import dataclass
from hmac import compare_digest

from blake3 import blake3

from headrace.cache.core.keys import KEY_BYTES, subkey

MAGIC = b"HRCE"
VERSION = 1
RAW = 0
"""The only codec: the value as it is."""

HEADER = struct.Struct(f"<4sBBHQQ{KEY_BYTES}s")
CHECKSUM_BYTES = 32
OVERHEAD_BYTES = HEADER.size + CHECKSUM_BYTES

CLOCK_SLACK_MS = 60_000
"""How far the clocks of two services may be apart, and how far one may be set back."""


class EntryRefused(Exception):
    """What was stored isn't an entry of ours for this key; the text says why."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A believed entry: the value, and how long it may still be served."""

    value: bytes
    life_ms: int


class Seal:
    """Seals and opens entries with one secret."""

    __slots__ = ("_key", "_longest_ms")

    def __init__(self, secret: bytes, longest_ms: int) -> None:
        """`longest_ms` is the longest life of an entry; one that claims more is refused."""
        self._key = subkey(secret, "entry checksums")
        self._longest_ms = longest_ms

    def sealed(self, key: bytes, value: bytes, now_ms: int, life_ms: int) -> bytes:
        """The stored form of `value`, which ends `life_ms` after now (wall clock)."""
        header = HEADER.pack(MAGIC, VERSION, RAW, 0, now_ms + life_ms, len(value), key)
        return header + self._checksum(header, value) + value

    def opened(self, key: bytes, stored: bytes, now_ms: int) -> Opened | None:
        """The value stored for `key`; None when its time is over. Raises EntryRefused."""
        if len(stored) < OVERHEAD_BYTES:
            raise EntryRefused("too short")
        magic, version, codec, _, end_ms, size, bound_to = HEADER.unpack_from(stored)
        value = stored[OVERHEAD_BYTES:]
        checksum = stored[HEADER.size : OVERHEAD_BYTES]
        if (magic, version, codec) != (MAGIC, VERSION, RAW):
            raise EntryRefused("another form")
        if size != len(value):
            raise EntryRefused("another length")
        if bound_to != key:
            raise EntryRefused("another key's")
        if not compare_digest(checksum, self._checksum(stored[: HEADER.size], value)):
            raise EntryRefused("another checksum")
        if end_ms - now_ms > self._longest_ms + CLOCK_SLACK_MS:
            raise EntryRefused("too long a life")
        if end_ms <= now_ms:
            return None
        return Opened(value, min(end_ms - now_ms, self._longest_ms))

    def _checksum(self, header: bytes, value: bytes) -> bytes:
        hasher = blake3(header, key=self._key)
        hasher.update(value)
        return hasher.digest()


class Names:
    """What entries are called in a store that others may read: nobody's name is in it."""

    __slots__ = ("_key",)

    ROOT = "headrace:cache:1"

    def __init__(self, secret: bytes) -> None:
        self._key = subkey(secret, "names")

    def name(self, tenant: str, model: str, key: bytes) -> str:
        """The name of one entry."""
        return f"{self.ROOT}:{self._token('tenant', tenant)}:{self._token('model', model)}:{key.hex()}"

    def pattern(self, tenant: str, model: str, key: bytes) -> str:
        """A glob for the names of what has every part that isn't empty."""
        tenants = self._token("tenant", tenant) if tenant else "*"
        models = self._token("model", model) if model else "*"
        return f"{self.ROOT}:{tenants}:{models}:{key.hex() or '*'}"

    def _token(self, kind: str, text: str) -> str:
        return blake3(f"{kind}:{text}".encode(), key=self._key).hexdigest(8)
