"""What a supervisor tells whoever started it: one JSON object per line on stdout.

`step` while it starts, then `ready` or `failed`, then `process` when one comes or
goes. The reader of a detached supervisor leaves after `ready`.
"""

import json
import os
from typing import Protocol

from headrace.local.errors import StartFault


class Report(Protocol):
    """Takes what happens."""

    def step(self, text: str) -> None:
        """What is being done now."""
        ...

    def ready(self, document: dict[str, object]) -> None:
        """The mesh answers; `document` is what `up --json` prints."""
        ...

    def failed(self, fault: StartFault) -> None:
        """The mesh can't start."""
        ...

    def process(self, name: str, state: str, last_exit: str) -> None:
        """A process changed its state."""
        ...


class LineReport:
    """Writes to a descriptor; a reader that has gone is nothing to us."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def step(self, text: str) -> None:
        self._write({"event": "step", "text": text})

    def ready(self, document: dict[str, object]) -> None:
        self._write({"event": "ready", "document": document})

    def failed(self, fault: StartFault) -> None:
        self._write({"event": "failed", "what": fault.what, "why": fault.why, "next": fault.next_step})

    def process(self, name: str, state: str, last_exit: str) -> None:
        self._write({"event": "process", "name": name, "state": state, "last_exit": last_exit})

    def _write(self, event: dict[str, object]) -> None:
        try:
            os.write(self._descriptor, json.dumps(event).encode() + b"\n")
        except OSError:
            self._descriptor = -1
