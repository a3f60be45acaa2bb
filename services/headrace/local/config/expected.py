"""What the schema expects of a value, in words that a mistake's fix can use."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
from msgspec import inspect

from headrace.local.config.schema import AS_WRITTEN


@dataclass(frozen=True, slots=True)
class Expected:
    """A value's kind: its name in a sentence, an example, and its judge.

    `as_written`: it is the text in the file, whatever YAML would make of it.
    """

    name: str
    example: str
    type: Any
    limits: Mapping[str, Any] = field(default_factory=dict)
    as_written: bool = False

    def convert(self, value: Any) -> Any:
        """The value, judged; raises msgspec.ValidationError."""
        kind = msgspec.Meta(**self.limits) if self.limits else None
        return msgspec.convert(value, self.type if kind is None else _annotated(self.type, kind))

    def fix(self, key: str) -> str:
        """What to write instead."""
        last = key.rpartition(".")[2]
        if not last:
            return "write sections, as in `gateway: {port: 8080}`"
        if last.endswith("]"):
            return f"write {self.name}, as in `- {self.example}`"
        return f"write {self.name}, as in `{last}: {self.example}`"


def expected(kind: inspect.Type) -> Expected:
    """What a value of the schema's type `kind` looks like."""
    hints = _hints(kind)
    plain = without_metadata(kind)
    example = str(next(iter(hints.get("examples", ())), ""))
    description = str(hints.get("description", ""))
    match plain:
        case inspect.IntType():
            bounds = _bounds(plain)
            name = f"{description or 'a whole number'} ({bounds})" if bounds else "a whole number"
            return Expected(name, example or str(max(plain.ge or 0, 1)), int, _limits(plain))
        case inspect.FloatType():
            return Expected(
                f"a number ({_bounds(plain)})", example or str(plain.le or 1), float, _limits(plain)
            )
        case inspect.BoolType():
            return Expected("true or false", "true", bool)
        case inspect.LiteralType():
            options = tuple(map(str, plain.values))
            return Expected(f"one of {', '.join(options)}", options[0], Literal[options])
        case inspect.StrType():
            pattern = {"pattern": plain.pattern} if plain.pattern else {"min_length": plain.min_length or 0}
            return Expected(description or "text", example or "text", str, pattern, AS_WRITTEN in hints)
        case inspect.ListType():
            item = expected(plain.item_type)
            return Expected(f"a list, each {item.name}", f"[{item.example}]", list)
    return Expected("a mapping", "{}", dict)


def without_metadata(kind: inspect.Type) -> inspect.Type:
    """The type itself: without descriptions, and without "or absent"."""
    while True:
        match kind:
            case inspect.Metadata():
                kind = kind.type
            case inspect.UnionType():
                kind = next(part for part in kind.types if not isinstance(part, inspect.CustomType))
            case _:
                return kind


def _hints(kind: inspect.Type) -> Mapping[str, Any]:
    match kind:
        case inspect.Metadata():
            return kind.extra_json_schema or {}
        case inspect.UnionType():
            return next((_hints(part) for part in kind.types if isinstance(part, inspect.Metadata)), {})
    return {}


def _bounds(kind: inspect.IntType | inspect.FloatType) -> str:
    return "" if kind.ge is None or kind.le is None else f"{kind.ge} to {kind.le}"


def _limits(kind: inspect.IntType | inspect.FloatType) -> dict[str, Any]:
    limits = {"ge": kind.ge, "le": kind.le}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _annotated(kind: Any, meta: msgspec.Meta) -> Any:
    return Annotated[kind, meta]
