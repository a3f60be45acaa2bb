"""What a command prints: one JSON document or text on stdout, the rest on stderr."""

import json
import os
import sys
from collections.abc import Mapping
from typing import TextIO

from headrace.cli.errors import CliError
from headrace.cli.program import NAME, program


class Output:
    """The two streams of one command.

    Where a text for a person says `headrace …`, the name becomes the way in
    which this command was called: `called_as`.
    """

    def __init__(
        self,
        *,
        as_json: bool,
        out: TextIO | None = None,
        err: TextIO | None = None,
        called_as: str | None = None,
    ) -> None:
        self.as_json = as_json
        self._called_as = called_as or program()
        self._out = out or sys.stdout
        self._err = err or sys.stderr

    @property
    def terminal(self) -> bool:
        """Whether somebody watches: progress and colour are for them only."""
        return not self.as_json and self._err.isatty()

    def document(self, document: Mapping[str, object]) -> None:
        """The answer for a program; nothing without --json."""
        if self.as_json:
            print(json.dumps(document, ensure_ascii=False), file=self._out, flush=True)

    def text(self, text: str = "") -> None:
        """The answer for a person; nothing with --json."""
        if not self.as_json:
            print(self._pastable(text), file=self._out, flush=True)

    def note(self, text: str) -> None:
        """Something besides the answer."""
        print(self._pastable(text), file=self._err, flush=True)

    def progress(self, text: str) -> None:
        """What is being done now, on a terminal only."""
        if self.terminal:
            self.note(f"… {text}")

    def table(self, columns: list[str], rows: list[list[str]]) -> None:
        """Aligned columns; numbers to the right."""
        if self.as_json:
            return
        widths = [max(len(row[n]) for row in [columns, *rows]) for n in range(len(columns))]
        for row in [[column.upper() for column in columns], *rows]:
            cells = [_aligned(cell, width) for cell, width in zip(row, widths, strict=True)]
            self.text("  ".join(cells).rstrip())

    def failed(self, error: CliError) -> None:
        """The error: a document on stdout for a program, sentences on stderr for a person."""
        self.document(
            {"error": {"what": error.what, "why": error.why, "next": self._pastable(error.next_step)}}
        )
        self.note(f"{self._red('error')}: {error.what}")
        for line in error.why.splitlines():
            self.note(f"  why:  {line}")
        self.note(f"  next: {error.next_step}")

    def _pastable(self, text: str) -> str:
        return text.replace(f"`{NAME} ", f"`{self._called_as} ")

    def _red(self, text: str) -> str:
        coloured = self._err.isatty() and not os.environ.get("NO_COLOR")  # no-color.org
        return f"\x1b[31m{text}\x1b[0m" if coloured else text


def money(nanos: int) -> str:
    """Nano-units as a decimal number, to the digit: no float takes part."""
    sign = "-" if nanos < 0 else ""
    return f"{sign}{abs(nanos) // 10**9}.{abs(nanos) % 10**9:09d}"


def _aligned(cell: str, width: int) -> str:
    number = cell.replace(".", "").replace(",", "").removesuffix(" s").removesuffix(" ms").isdigit()
    return cell.rjust(width) if number else cell.ljust(width)
