"""The keys of answers: a keyed hash over all that decides an answer.

Every part stands with its length before it, so that no two requests have the
same parts run together. The layout is in the README, and held by a golden file:
a change of it is a new `SCHEMA`, under which old entries are not found.
"""

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache

from blake3 import blake3

KEY_BYTES = 32
SCHEMA = b"headrace answer 1"
CALL_SCHEMA = b"headrace call 1"

Scalar = str | int | float | bool
Data = Sequence[bytes] | bytes | bytearray | memoryview
Input = tuple[str, str, tuple[int, ...], Data]
"""Name, datatype, shape, and the raw bytes; or, for BYTES, the elements."""

Argument = Scalar | bytes | None | Sequence["Argument"] | Mapping[str, "Argument"]
"""What an argument of a cached function may be."""

PREFIXES = 4096
"""Tenants and models whose part of the hash is remembered."""

JOINED_BYTES = 4096
"""Longer data is hashed where it lies instead of being copied beside its header."""

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_F64 = struct.Struct("<d")


class Prefix:
    """What the keys of one tenant, model and version have in common."""

    __slots__ = ("hasher",)

    def __init__(self, hasher: blake3) -> None:
        self.hasher = hasher


class AnswerKeys:
    """Makes keys with a secret: who doesn't have it can neither guess nor forge one.

    `secret` has at least 32 bytes. Tenants can't share a key: theirs begin with
    their name.
    """

    __slots__ = ("_key", "_prefixes")

    def __init__(self, secret: bytes) -> None:
        """Raises ValueError for a shorter secret."""
        self._key = subkey(secret, "answer keys")
        self._prefixes: dict[tuple[str, str, str], Prefix] = {}

    def prefix(self, tenant: str, model: str, version_digest: str) -> Prefix:
        """The state of the hash after all that a tenant's requests to a model share.

        `version_digest` changes with the model's files, not with its version's name.
        """
        parts = (tenant, model, version_digest)
        found = self._prefixes.get(parts)
        if found is None:
            if len(self._prefixes) >= PREFIXES:
                self._prefixes.pop(next(iter(self._prefixes)))
            found = self._prefixes[parts] = Prefix(blake3(_texts(parts, SCHEMA), key=self._key))
        return found

    def key(
        self,
        prefix: Prefix,
        inputs: Sequence[Input],
        parameters: Mapping[str, Scalar],
        outputs: Sequence[str],
    ) -> bytes:
        """The key of one request: 32 bytes.

        Inputs and parameters may come in any order; the order of `outputs`
        counts, since it is the answer's. BYTES give the same key as elements and
        as their wire form.
        """
        hasher = prefix.hasher.copy()
        parts = [_U32.pack(len(inputs))]
        for name, datatype, shape, data in sorted(inputs, key=_first) if len(inputs) > 1 else inputs:
            parts.append(_header(name, datatype, shape))
            raw = data if isinstance(data, (bytes, bytearray, memoryview)) else _wire_form(data)
            size = raw.nbytes if isinstance(raw, memoryview) else len(raw)
            parts.append(_U64.pack(size))
            if size > JOINED_BYTES:
                hasher.update(b"".join(parts))
                hasher.update(raw)
                parts.clear()
            else:
                parts.append(raw)  # type: ignore[arg-type]  # join takes any buffer
        parts.append(_settings(parameters, outputs) if parameters or outputs else _NO_SETTINGS)
        hasher.update(b"".join(parts))
        return hasher.digest()

    def call_key(self, operation: str, version: str, tenant: str, arguments: Mapping[str, Argument]) -> bytes:
        """The key of a call of a function: its name, its version, whose call it is, all arguments.

        Raises TypeError for an argument that has no one form as bytes.
        """
        hasher = blake3(_texts((operation, version, tenant), CALL_SCHEMA), key=self._key)
        hasher.update(_argument(arguments))
        return hasher.digest()


def subkey(secret: bytes, purpose: str) -> bytes:
    """A key for one purpose: what is made for one can't be used for another. Raises ValueError."""
    if len(secret) < KEY_BYTES:
        raise ValueError(f"the cache's secret has {len(secret)} bytes; it needs {KEY_BYTES}")
    return blake3(secret, derive_key_context=f"headrace cache 1 {purpose}").digest()


def _first(item: Input) -> str:
    return item[0]


@lru_cache(maxsize=4096)
def _text(text: str) -> bytes:
    data = text.encode()
    return _U32.pack(len(data)) + data


def _texts(texts: Sequence[str], schema: bytes = b"") -> bytes:
    return b"".join((schema, _U32.pack(len(texts)), *map(_text, texts)))


@lru_cache(maxsize=4096)
def _header(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    return _text(name) + _text(datatype) + struct.pack(f"<I{len(shape)}q", len(shape), *shape)


def _wire_form(elements: Sequence[bytes]) -> bytes:
    return b"".join(part for element in elements for part in (_U32.pack(len(element)), element))


def _settings(parameters: Mapping[str, Scalar], outputs: Sequence[str]) -> bytes:
    parts = [_U32.pack(len(parameters))]
    for name in sorted(parameters):
        parts += (_text(name), _argument(parameters[name]))
    return b"".join((*parts, _texts(outputs)))


_NO_SETTINGS = _settings({}, ())


def _argument(value: Argument) -> bytes:
    """A value with its type: 1, 1.0, True and "1" are four values."""
    match value:
        case None:
            return b"n"
        case bool():
            return b"t" if value else b"f"
        case int():
            return b"i" + _text(str(value))
        case float():
            return b"d" + _F64.pack(value)
        case str():
            return b"s" + _text(value)
        case bytes():
            return b"b" + _U64.pack(len(value)) + value
        case Mapping():
            pairs = (_text(name) + _argument(value[name]) for name in sorted(value))
            return b"m" + _U32.pack(len(value)) + b"".join(pairs)
        case list() | tuple():
            return b"l" + _U32.pack(len(value)) + b"".join(map(_argument, value))
    raise TypeError(f"an argument of type {type(value).__name__} can't be part of a key")
