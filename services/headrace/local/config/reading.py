"""Reads headrace.yaml: the values, or every mistake at once with its line and fix.

YAML's node tree is walked beside the schema's types, because only the nodes
know their lines; values are then judged by msgspec.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import inspect

from headrace.local.config.expected import expected, without_metadata
from headrace.local.config.schema import Config
from headrace.local.config.whole import findings

MAX_CONFIG_BYTES = 1024 * 1024
_TREE = inspect.type_info(Config)
_SHOWN = 40
_PASSWORD = re.compile("//[^/@]*:[^/@]*@")
"""Who logs in to an address, and how: what is shown ends in logs."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `key` is the path to it, empty for the file as a whole."""

    file: str
    line: int
    key: str
    what: str
    fix: str

    def __str__(self) -> str:
        key = f" {self.key}:" if self.key else ""
        return f"{self.file}:{self.line}:{key} {self.what}; fix: {self.fix}"


class ConfigError(Exception):
    """A file that can't be used; `problems` has every mistake, by line."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def read(path: Path) -> Config:
    """The file's configuration; raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            [Problem(str(path), 0, "", f"can't be read: {reason}", "check --config")]
        ) from error
    if len(data) > MAX_CONFIG_BYTES:
        problem = Problem(
            str(path),
            0,
            "",
            f"has more than {MAX_CONFIG_BYTES} bytes",
            "is this the right file? check --config",
        )
        raise ConfigError([problem])
    return parse(data, str(path))


def parse(data: bytes, file: str) -> Config:
    """The configuration in `data`; raises ConfigError. `file` is its name in problems."""
    node = _compose(data, file)
    if node is None:
        return Config()
    walk = _Walk(file)
    try:
        value = walk.value(node, _TREE, "")
    except RecursionError:
        raise ConfigError(
            [Problem(file, 1, "", "is nested too deeply", "see the keys in README.md")]
        ) from None
    if not walk.problems:
        config = msgspec.convert(value, Config)
        walk.problems.extend(Problem(file, *found) for found in findings(config, walk.lines))
        if not walk.problems:
            return config
    raise ConfigError(sorted(walk.problems, key=lambda problem: problem.line))


def _compose(data: bytes, file: str) -> yaml.Node | None:
    try:
        return yaml.compose(data, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        what = f"is no YAML: {error.problem or error.context}"
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line, what = 1, f"is no YAML: {str(error).splitlines()[0]}"
    except RecursionError:
        line, what = 1, "is nested too deeply"
    fix = "indent by spaces, put a colon and a space behind each key, quote special characters"
    raise ConfigError([Problem(file, line, "", what, fix)])


class _Walk:
    """One pass over the nodes; collects problems and each key's line."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self.lines: dict[str, int] = {}
        self._file = file
        self._construct = yaml.SafeLoader(b"")

    def value(self, node: yaml.Node, kind: inspect.Type, key: str) -> Any:
        """The node's value; anything at all where there was a problem."""
        self.lines[key] = _line(node)
        if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
            return self._empty(node, kind, key)
        match plain := without_metadata(kind):
            case inspect.StructType():
                return self._section(node, plain, key)
            case inspect.DictType():
                return self._mapping(node, plain, key)
            case inspect.ListType():
                return self._list(node, plain, key)
        return self._leaf(node, kind, key)

    def _section(self, node: yaml.Node, kind: inspect.StructType, key: str) -> dict[str, Any]:
        fields = {field.encode_name: field.type for field in kind.fields}
        values = {}
        for name, at in self._pairs(node, kind, key):
            if name in fields:
                values[name] = self.value(at, fields[name], _join(key, name))
            else:
                near = get_close_matches(name, fields, n=1)
                known = ", ".join(fields)
                fix = f"did you mean {near[0]!r}?" if near else f"remove it; known here: {known}"
                self._problem(at, _join(key, name), "no such key", fix)
        for field in kind.fields:
            if field.required and field.encode_name not in values:
                needed = _join(key, field.encode_name)
                self._problem(node, needed, "is missing", expected(field.type).fix(needed))
        return values

    def _mapping(self, node: yaml.Node, kind: inspect.DictType, key: str) -> dict[str, Any]:
        values = {}
        wanted = expected(kind.key_type)
        for name, at in self._pairs(node, kind, key):
            try:
                wanted.convert(name)
            except msgspec.ValidationError:
                self._problem(
                    at, _join(key, name), f"must be named as {wanted.name}", f"as in `{wanted.example}: …`"
                )
            values[name] = self.value(at, kind.value_type, _join(key, name))
        return values

    def _pairs(self, node: yaml.Node, kind: inspect.Type, key: str) -> list[tuple[str, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            self._wrong(node, kind, key)
            return []
        pairs: dict[str, yaml.Node] = {}
        for name_node, at in node.value:
            name = str(name_node.value)
            if not isinstance(name_node, yaml.ScalarNode) or name == "<<":
                self._problem(name_node, key, "a key must be a plain word", "write `key: value`")
            elif name in pairs:
                first = self.lines.get(_join(key, name), _line(pairs[name]))
                self._problem(
                    name_node, _join(key, name), "occurs twice", f"keep one; the other is on line {first}"
                )
            else:
                pairs[name] = at
                self.lines[_join(key, name)] = _line(name_node)
        return list(pairs.items())

    def _list(self, node: yaml.Node, kind: inspect.ListType, key: str) -> list[Any]:
        if isinstance(node, yaml.SequenceNode):
            return [self.value(at, kind.item_type, f"{key}[{n}]") for n, at in enumerate(node.value)]
        return self._wrong(node, kind, key)

    def _leaf(self, node: yaml.Node, kind: inspect.Type, key: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            return self._wrong(node, kind, key)
        try:
            wanted = expected(kind)
            value = node.value if wanted.as_written else self._construct.construct_object(node)
            return wanted.convert(value)
        except (yaml.YAMLError, msgspec.ValidationError, ValueError, OverflowError):
            return self._wrong(node, kind, key)

    def _empty(self, node: yaml.Node, kind: inspect.Type, key: str) -> Any:
        """A key with nothing behind it: an empty section, or a value that was forgotten."""
        if isinstance(without_metadata(kind), inspect.StructType | inspect.DictType):
            return {}
        self._problem(node, key, "has no value", expected(kind).fix(key))
        return None

    def _wrong(self, node: yaml.Node, kind: inspect.Type, key: str) -> list[Any]:
        self._problem(
            node, key, f"must be {expected(kind).name}, not {_shown(node)}", expected(kind).fix(key)
        )
        return []

    def _problem(self, node: yaml.Node, key: str, what: str, fix: str) -> None:
        self.problems.append(Problem(self._file, _line(node), key, what, fix))


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _shown(node: yaml.Node) -> str:
    match node:
        case yaml.MappingNode():
            return "a mapping"
        case yaml.SequenceNode():
            return "a list"
    text = _PASSWORD.sub("//…@", str(node.value))
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
