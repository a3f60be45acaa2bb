"""What the head of a request says: metadata, time left, encoding."""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from headrace.runtime.ingress.core.faults import WireFault

IDENTITY = b"identity"
GZIP = b"gzip"
ACCEPTED = "identity,gzip"

_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


class RequestMetadata(Mapping[str, str | bytes]):
    """A request's headers for its handler: the last value of each name, `-bin` values decoded.

    Decodes what is asked for only: handlers ask for few of the dozen headers
    that Envoy sends. A `-bin` value that is no base64 raises `WireFault` when read.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[bytes, bytes]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> str | bytes:
        value = self._values[name.encode()].decode("latin-1")
        return _binary(name, value) if name.endswith("-bin") else value

    # The mixins of Mapping answer these by catching KeyError: three times the time, for what mostly is not there.
    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.encode() in self._values

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or `default`."""
        return self[name] if name.encode() in self._values else default

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._values)

    def __len__(self) -> int:
        return len(self._values)


@lru_cache(maxsize=256)  # clients have few time-outs, and Envoy's own is one
def timeout_s(text: bytes) -> float:
    """`grpc-timeout` in seconds: at most eight digits and a unit."""
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        raise WireFault("HEADER_INVALID", "grpc-timeout is no time", header="grpc-timeout")
    return int(match[1]) * _SECONDS[match[2]]


def is_gzip(encoding: bytes) -> bool:
    """Whether flagged messages are gzip; raises for an encoding that we don't speak."""
    if encoding == GZIP:
        return True
    if encoding == IDENTITY:
        return False
    raise WireFault("ENCODING_UNSUPPORTED", f"messages may be {ACCEPTED} only", accepted=ACCEPTED)


def _binary(name: str, value: str) -> bytes:
    last = value.rsplit(",", 1)[-1].strip().rstrip("=")
    try:
        return b64decode(last + "=" * (-len(last) % 4), validate=True)
    except ValueError:
        raise WireFault("HEADER_INVALID", f"{name} is no base64", header=name) from None
