"""The list of processes, as it is read again and again."""

import json
from pathlib import Path

import pytest

from headrace.insight.scrape import Place
from headrace.insight.targets import MAX_TARGETS, Targets


def test_a_list_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """Names are labels, or else addresses; a list that is gone lists nothing."""
    path = tmp_path / "targets.json"
    targets = Targets(path)
    assert targets.read() == {}
    labels = {"service": "guard", "replica": "guard"}
    path.write_text(json.dumps([{"targets": ["127.0.0.1:1"], "labels": labels}]))
    assert targets.read() == {"guard": ("guard", Place("127.0.0.1:1"))}
    beside = tmp_path / "new"
    beside.write_text(json.dumps([{"targets": ["cache:9201"], "labels": {"service": "cache"}}]))
    beside.replace(path)
    assert targets.read() == {"cache:9201": ("cache", Place("cache:9201"))}
    path.unlink()
    assert targets.read() == {}


@pytest.mark.parametrize(
    "content", [b'[{"targets": ["a:1"', b'[{"targets": ["\xff:1"]}]', b'[{"x": ' + b"[" * 100_000]
)
def test_a_list_that_can_not_be_read_changes_nothing(tmp_path: Path, content: bytes) -> None:
    """Half a file is no reason to forget a mesh, nor is one that is no text, or nested too deeply."""
    path = tmp_path / "targets.json"
    path.write_text('[{"targets": ["a:1"]}]')
    targets = Targets(path)
    known = targets.read()
    path.write_bytes(content)
    assert targets.read() == known == {"a:1": ("", Place("a:1"))}


def test_a_list_is_bounded(tmp_path: Path) -> None:
    """And what is no address is not asked."""
    path = tmp_path / "targets.json"
    path.write_text(json.dumps([{"targets": ["here", *(f"a:{n}" for n in range(1000))]}]))
    assert len(Targets(path).read()) == MAX_TARGETS
