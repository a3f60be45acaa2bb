"""Where every process tells its metrics, as Prometheus' file_sd has it: insight reads it, and so may a Prometheus."""

import json
from collections.abc import Iterable
from pathlib import Path

from headrace.local.plan import GATEWAY, VALKEY
from headrace.local.ports import HOST
from headrace.local.spec import Spec
from headrace.local.statedir import write_atomically

WITHOUT_METRICS = (GATEWAY, VALKEY)
"""Envoy tells them on its admin socket, which is no place for others; Valkey has none in this form."""


def targets(specs: Iterable[Spec]) -> list[dict[str, object]]:
    """One group for each process: its address, its service and its name (`replica`)."""
    return [
        {"targets": [f"{HOST}:{spec.ports[1]}"], "labels": {"service": spec.service, "replica": spec.name}}
        for spec in specs
        if spec.service not in WITHOUT_METRICS
    ]


class TargetsFile:
    """Written anew when the processes are others than before; a reader sees the old list or the new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: list[dict[str, object]] | None = None

    def write(self, specs: Iterable[Spec]) -> None:
        """Lists these processes, those too that do not answer now."""
        now = targets(specs)
        if now != self._written:
            write_atomically(self._path, json.dumps(now, indent=1).encode() + b"\n")
            self._written = now
