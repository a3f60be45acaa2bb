"""deploy/ as it is parsed: what Compose would start, and how the image is built."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: Mapping[str, Any] = COMPOSE["services"]
PROMETHEUS = DEPLOY / "prometheus"
INSTRUCTION = re.compile(r"^([A-Z]+)\s+(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume of Compose, or a file of deploy/, in a container."""

    source: str
    target: Path
    read_only: bool


def ours() -> dict[str, Any]:
    """The containers of our own image."""
    return {name: body for name, body in SERVICES.items() if body["image"].startswith("headrace:")}


def modules() -> dict[str, str]:
    """What `python -m` runs, by container."""
    commands = {name: body.get("command", []) for name, body in ours().items()}
    return {name: command[1] for name, command in commands.items() if command[:1] == ["-m"]}


def mounts(name: str) -> list[Mount]:
    """Of a container, the longest target first."""
    parts = [text.split(":") for text in SERVICES[name].get("volumes", [])]
    found = [Mount(part[0], Path(part[1]), part[2:] == ["ro"]) for part in parts]
    return sorted(found, key=lambda mount: len(mount.target.parts), reverse=True)


def mount_of(name: str, path: Path) -> Mount | None:
    """The volume in which a container has `path`; None for its own root."""
    return next((mount for mount in mounts(name) if path.is_relative_to(mount.target)), None)


def instructions() -> Iterator[tuple[str, str]]:
    """Of the Dockerfile, each on one line."""
    lines = (line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    yield from INSTRUCTION.findall(re.sub(r"\\\n\s*", "", "\n".join(lines)))


def last(name: str) -> str:
    """What the last instruction of a kind says: it is the one that holds."""
    return [what for kind, what in instructions() if kind == name][-1]


def words(text: str) -> list[str]:
    """An instruction in its JSON form."""
    found: list[str] = json.loads(text)
    return found
