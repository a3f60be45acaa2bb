"""Billing keys with their tenants: the same key of two tenants is two tokens."""

import numpy as np
from numpy.typing import NDArray

from headrace.metering.core.batch import Ints, Keys
from headrace.metering.core.bloom import Words

_TOKEN = np.dtype([("tenant", ">u4"), ("first", "<u8"), ("second", "<u8")])
TOKEN_BYTES = _TOKEN.itemsize
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


def tokens_of(tenants: Ints, keys: Keys) -> NDArray[np.void]:
    """The tokens of keys that belong to tenants with these numbers."""
    tokens = np.empty(len(keys), _TOKEN)
    halves = np.ascontiguousarray(keys).view(np.uint64)
    tokens["tenant"], tokens["first"], tokens["second"] = tenants, halves[::2], halves[1::2]
    return tokens


def as_bytes(tokens: NDArray[np.void]) -> list[bytes]:
    """Each token's bytes."""
    found: list[bytes] = tokens.view(f"V{TOKEN_BYTES}").tolist()
    return found


def hashes_of(tokens: NDArray[np.void] | bytes) -> tuple[Words, Words]:
    """Two hashes of each token: the keys are hashes already."""
    some = np.frombuffer(tokens, _TOKEN) if isinstance(tokens, bytes) else tokens
    return some["first"] ^ (some["tenant"].astype(np.uint64) * _SPREAD), some["second"]
