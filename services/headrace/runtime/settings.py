"""Process settings: read once from a mapping, every mistake reported at once.

A service's settings are a frozen slots dataclass; `SettingsReader` turns the
mapping's texts into values and collects what is wrong, so that a start with
three mistakes names three.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class SettingsError(Exception):
    """Settings that can't be used; `problems` has a line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class SettingsReader:
    """Reads `PREFIX_KEY` values from a mapping.

    Call the typed readers, then `finish()`, which raises `SettingsError` with
    all mistakes, unknown keys of the prefix included.
    """

    def __init__(self, values: Mapping[str, str], prefix: str) -> None:
        self._values = values
        self._prefix = prefix
        self._read: set[str] = set()
        self._problems: list[str] = []

    def text(self, key: str, default: str) -> str:
        return self._take(key, default, str, "text")

    def text_or_none(self, key: str, default: str) -> str:
        """A text that may be set to none: an empty value is the empty text, not the default."""
        text = self.text(key, default)
        return "" if self._values.get(f"{self._prefix}_{key}") == "" else text

    def path(self, key: str, default: Path | None) -> Path | None:
        return self._take(key, default, Path, "a path")

    def integer(self, key: str, default: int, *, low: int, high: int) -> int:
        value = self._take(key, default, int, "a whole number")
        return self._within(key, value, default, low, high)

    def number(self, key: str, default: float, *, low: float, high: float) -> float:
        value = self._take(key, default, float, "a number")
        return self._within(key, value, default, low, high)

    def flag(self, key: str, *, default: bool) -> bool:
        return self._take(key, default, _flag, "true or false")

    def choice(self, key: str, default: str, options: tuple[str, ...]) -> str:
        value = self._take(key, default, str, "text")
        if value not in options:
            self.problem(key, f"must be one of {', '.join(options)}, not {value!r}")
            return default
        return value

    def problem(self, key: str, what: str) -> None:
        """Records a mistake that only the caller can see."""
        self._problems.append(f"{self._prefix}_{key}: {what}")

    def finish(self) -> None:
        """Raises `SettingsError` if anything was wrong."""
        for name in sorted(self._values):
            if name.startswith(self._prefix + "_") and name not in self._read:
                self._problems.append(f"{name}: no such setting")
        if self._problems:
            raise SettingsError(self._problems)

    def _take(self, key: str, default: T, parse: Callable[[str], T], expected: str) -> T:
        name = f"{self._prefix}_{key}"
        self._read.add(name)
        text = self._values.get(name)
        if text is None or text == "":
            return default
        try:
            return parse(text)
        except ValueError:
            self._problems.append(f"{name}: must be {expected}, not {text!r}")
            return default

    def _within(self, key: str, value: T, default: T, low: float, high: float) -> T:
        if not low <= value <= high:  # type: ignore[operator]  # T is int or float here
            self.problem(key, f"must be between {low} and {high}, not {value}")
            return default
        return value


def _flag(text: str) -> bool:
    match text.lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
    raise ValueError(text)
