"""What the head of a request says: metadata, time left, encoding."""

import re
from base64 import b64decode
from collections.abc import Iterable, Sequence

from headrace.runtime.ingress.core.faults import WireFault

IDENTITY = "identity"
GZIP = "gzip"
ACCEPTED = f"{IDENTITY},{GZIP}"

_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def decoded(raw: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Header lines as text, names in lower case, in their order, duplicates kept."""
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]


def metadata(headers: Sequence[tuple[str, str]]) -> dict[str, str | bytes]:
    """The last value of each name; `-bin` values decoded."""
    values: dict[str, str | bytes] = dict(headers)
    for name, value in headers:
        if name.endswith("-bin"):
            values[name] = _binary(name, value)
    return values


def timeout_s(text: str) -> float:
    """`grpc-timeout` in seconds: at most eight digits and a unit."""
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        raise WireFault("HEADER_INVALID", "grpc-timeout is no time", header="grpc-timeout")
    return int(match[1]) * _SECONDS[match[2]]


def is_gzip(encoding: str) -> bool:
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
