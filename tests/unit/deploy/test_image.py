"""deploy/Dockerfile: what the image holds and starts."""

import fnmatch
from importlib.util import find_spec

import pytest

from tests.unit.deploy.containers import ROOT, instructions, last, modules, ours, words

STEWARD = "/opt/headrace/steward.py"


@pytest.mark.parametrize("module", sorted({words(last("CMD"))[1], *modules().values()}))
def test_what_is_started_exists(module: str) -> None:
    """The image's command and each container's is a module that `python -m` can run."""
    assert find_spec(f"{module}.__main__") is not None


def test_scripts_that_are_started_exist() -> None:
    """What is started by path is copied into the image."""
    assert words(last("ENTRYPOINT")) == ["python"]
    assert ours()["steward"]["command"][0] == STEWARD
    assert ("COPY", "deploy/image /opt/headrace") in list(instructions())
    assert (ROOT / "deploy" / "image" / "steward.py").is_file()
    assert (ROOT / "deploy" / "image" / "healthy.py").is_file()


def test_it_runs_as_nobody_in_particular() -> None:
    """A fixed number without rights, ended by SIGTERM, asked for its health."""
    assert last("USER") == "10001:10001"
    assert last("STOPSIGNAL") == "SIGTERM"
    assert "/opt/headrace/healthy.py" in last("HEALTHCHECK")


def test_the_build_gets_what_it_copies() -> None:
    """Each source of a COPY is in the repository, and .dockerignore lets it in."""
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    allowed = [line[1:] for line in ignore if line[0] == "!"]
    assert ignore[0] == "*"
    sources = [
        source
        for kind, what in instructions()
        if kind == "COPY" and "--from" not in what
        for source in what.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert any(fnmatch.fnmatch(source, pattern) for pattern in allowed), source
    for wanted in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):  # what the wheel is built from
        assert wanted in sources


def test_volumes_begin_private() -> None:
    """Every folder on which a volume is mounted is in the image, the user's own and nobody else's."""
    made = next(what for kind, what in instructions() if kind == "RUN" and what.startswith("install -d"))
    assert "-o 10001 -g 10001 -m 0700" in made
    mounted = [text.split(":") for body in ours().values() for text in body["volumes"]]
    targets = {
        parts[1] for parts in mounted if not parts[0].startswith(".")
    }  # what is ours has its owner already
    assert targets <= set(made.split())
