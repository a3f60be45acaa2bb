"""Which attributes hold secrets by their names, and what is done about it.

Secrets have no business in a span: this is a second line of defence, before
the store and before anything that leaves.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

REDACTED = "(redacted)"
MAX_KEY = 128

_SECRET = re.compile(r"(^|[._-])(authorization|cookie|password|secret|token|api[._-]?key)$", re.IGNORECASE)
_WITH_QUERY = frozenset({"http.url", "url.full", "http.target", "url.path"})

Treatment = Literal["redact", "cut query", "keep"]


@lru_cache(1024)
def treatment(key: str) -> Treatment:
    """What to do with the value of the attribute `key`; of a longer key than MAX_KEY the end is not judged."""
    if len(key) > MAX_KEY or _SECRET.search(key):
        return "redact"
    return "cut query" if key in _WITH_QUERY else "keep"


def redact(attributes: Iterable[KeyValue]) -> None:
    """Takes the secrets out of these attributes, in place."""
    for attribute in attributes:
        match treatment(attribute.key[: MAX_KEY + 1]):
            case "redact":
                attribute.value.string_value = REDACTED
            case "cut query" if attribute.value.HasField("string_value"):
                attribute.value.string_value = attribute.value.string_value.partition("?")[0]
            case "cut query":  # no URL, whatever it is
                attribute.value.string_value = REDACTED
            case "keep":
                pass
