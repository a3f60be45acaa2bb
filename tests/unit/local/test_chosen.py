"""The command line over headrace.yaml."""

from pathlib import Path

import pytest

from headrace.local.chosen import configuration
from headrace.local.errors import StartFault
from headrace.local.settings import LocalSettings


def test_the_command_line_wins() -> None:
    """Of the replicas, and of the ports, of which 0 takes free ones for everything."""
    config = configuration(LocalSettings(Path("/s"), port=0, replicas=3))
    assert config.inference.replicas == 3
    assert {config.gateway.port, config.inference.port, config.scaling.port, config.cache.valkey_port} == {0}


def test_the_bounds_hold_for_the_command_line(tmp_path: Path) -> None:
    """More replicas than scaling would leave are not begun with; where it leaves all, they are."""
    with pytest.raises(StartFault, match="are 1 and 10"):
        configuration(LocalSettings(Path("/s"), replicas=11))
    file = tmp_path / "headrace.yaml"
    file.write_text("scaling: {auto: false}\n")
    assert configuration(LocalSettings(Path("/s"), file, replicas=11)).inference.replicas == 11
