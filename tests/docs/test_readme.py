"""The README's commands, run as a reader would: in one directory, beside a mesh that runs."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.mesh import Mesh, environment

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(
    r"(<!-- not run: (?P<reason>.+?) -->\n)?```(?P<language>console|python)\n(?P<body>.*?)```", re.DOTALL
)
GATEWAY = "127.0.0.1:8080"
COMMAND_TIMEOUT_S = 60


@dataclass(frozen=True)
class Example:
    """A command or a program of a document, and why it isn't run here if it isn't."""

    language: str
    text: str
    reason: str = ""


def examples(document: Path) -> Iterator[Example]:
    """The commands (`$ …`, continued by a backslash) and Python programs of a document."""
    for block in BLOCK.finditer(document.read_text()):
        reason = block["reason"] or ""
        if block["language"] == "python":
            yield Example("python", block["body"], reason)
        else:
            for command in re.findall(r"^\$ ((?:.*\\\n)*.*)$", block["body"], re.MULTILINE):
                yield Example("sh", command, reason)


EXAMPLES = list(examples(ROOT / "README.md"))
CONFIGURATION = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
RUN = [example for example in EXAMPLES if not example.reason]


@pytest.fixture(scope="module")
def checkout(mesh: Mesh, grpcurl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that looks like a reader's checkout: `.venv`, its `headrace.yaml`, and the state of a mesh that runs."""
    folder = tmp_path_factory.mktemp("checkout")
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "grpcurl").symlink_to(grpcurl)
    (binaries / "python").symlink_to(sys.executable)
    headrace = binaries / "headrace"
    headrace.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m headrace.cli "$@"\n')
    headrace.chmod(headrace.stat().st_mode | stat.S_IXUSR)
    (folder / ".headrace").symlink_to(mesh.state_dir)
    (folder / "headrace.yaml").write_text(CONFIGURATION)
    return folder


@pytest.mark.mesh
@pytest.mark.parametrize("example", RUN, ids=lambda example: example.text.split("\n")[0][:50])
def test_example_works(example: Example, checkout: Path, mesh: Mesh) -> None:
    """A command of the README ends 0 and says something."""
    text = example.text.replace(GATEWAY, mesh.gateway)
    command = [sys.executable, "-c", text] if example.language == "python" else ["bash", "-euc", text]
    done = subprocess.run(
        command,
        cwd=checkout,
        env=environment({"PATH": f"{checkout}/.venv/bin:{os.environ['PATH']}"}),
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    # curl ends 0 for an error that the server answered with.
    assert '"error"' not in done.stdout


def test_every_example_is_found() -> None:
    """The README shows both ways, gRPC and REST, and leaves out two commands: those that install."""
    assert [example.text.split()[0] for example in EXAMPLES if example.reason] == ["git", "make"]
    assert {example.language for example in RUN} == {"sh", "python"}
    assert any(example.text.startswith("curl") for example in RUN)
    assert any(example.text.startswith("grpcurl") for example in RUN)
