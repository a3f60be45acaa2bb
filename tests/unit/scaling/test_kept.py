"""The list on disk."""

import stat
from pathlib import Path

import pytest

from headrace.scaling.kept import EndpointFile, Told
from tests.unit.scaling.gateway_scene import endpoints


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """The newest, and nothing else lies about; nobody but its owner may read where sockets are."""
    file = EndpointFile(tmp_path / "endpoints.json")
    for version in (1, 2):
        file.save(Told(version, endpoints("inference-0", "inference-1")))
    assert EndpointFile(tmp_path / "endpoints.json").load() == Told(
        2, endpoints("inference-0", "inference-1")
    )
    assert [path.name for path in tmp_path.iterdir()] == ["endpoints.json"]
    assert stat.S_IMODE((tmp_path / "endpoints.json").stat().st_mode) == 0o600


def test_none_is_no_beginning(tmp_path: Path) -> None:
    """A list that was empty is not told first: only its version goes on."""
    file = EndpointFile(tmp_path / "endpoints.json")
    file.save(Told(3, ()))
    assert file.load() == Told(3, None)


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b'{"version": "x"}', b"[1]", b"\xff" * 100, b"[" * 5000]
)
def test_what_cannot_be_read_is_nothing(tmp_path: Path, content: bytes | None) -> None:
    """A missing, cut or foreign file is no reason not to start."""
    if content is not None:
        (tmp_path / "endpoints.json").write_bytes(content)
    assert EndpointFile(tmp_path / "endpoints.json").load() == Told()
