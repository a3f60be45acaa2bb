"""gRPC's message frame: a five-byte prefix, and gzip whose inflated size is bounded."""

import zlib

from headrace.runtime.ingress.core.faults import WireFault

PREFIX_BYTES = 5

_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_GZIP_LEAST_BYTES = 18
_GZIP_MAGIC = b"\x1f\x8b\x08"


def parse_prefix(prefix: bytes, max_message_bytes: int) -> tuple[bool, int]:
    """(compressed, length) of the message that follows; refuses one that is too long."""
    flag = prefix[0]
    if flag > 1:
        raise WireFault("MESSAGE_INVALID", "the message's prefix has an unknown flag")
    length = int.from_bytes(prefix[1:PREFIX_BYTES], "big")
    if length > max_message_bytes:
        raise too_large(length, max_message_bytes)
    return flag == 1, length


def too_large(length: int, max_message_bytes: int) -> WireFault:
    """The refusal of a message that is longer than the limit."""
    return WireFault(
        "MESSAGE_TOO_LARGE",
        f"the message has {length} bytes, more than {max_message_bytes}",
        bytes=str(length),
        limit=str(max_message_bytes),
    )


def inflated_size(data: bytes, max_message_bytes: int) -> int:
    """What a gzip stream says it inflates to; refuses more than the limit.

    It is only a claim (`inflate` holds the stream to it), but one that lets
    memory be reserved before any is used.
    """
    if len(data) < _GZIP_LEAST_BYTES or not data.startswith(_GZIP_MAGIC):
        raise WireFault("MESSAGE_INVALID", "the message is no gzip")
    size = int.from_bytes(data[-4:], "little")
    if size > max_message_bytes:
        raise too_large(size, max_message_bytes)
    return size


def inflate(data: bytes, size: int) -> bytes:
    """The one gzip stream in `data`, which must inflate to exactly `size` bytes.

    Never makes more than `size` + 1 bytes, whatever the stream holds.
    """
    stream = zlib.decompressobj(_GZIP_WINDOW)
    try:
        message = stream.decompress(data, size + 1)
    except zlib.error:
        raise WireFault("MESSAGE_INVALID", "the message is no gzip") from None
    if len(message) != size or not stream.eof or stream.unused_data:
        raise WireFault("MESSAGE_INVALID", "the message is not the gzip that its size says")
    return message
