"""The configuration as a whole: Envoy takes it, and the commented copy is current."""

import subprocess
from pathlib import Path

import pytest

from headrace.local.gateway import REFERENCE, GatewaySettings, render, write
from tests.contract.gateway.edge import ENVOY

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"hot_path": "h2"},
        {"cors_origins": ("https://a.example", 'https://b.example/"quoted"')},
        {"access_log": Path("space: and $dollar.log")},
        {"sample_ratio": 0.0},
        {"sample_ratio": 0.01, "max_deadline_s": 0.25, "host": "::1", "port": 0},
    ],
    ids=str,
)
def test_envoy_accepts_it(tmp_path: Path, changed: dict[str, object]) -> None:
    """`envoy --mode validate` finds nothing wrong with what any settings render."""
    settings = GatewaySettings(tmp_path / "run $1", tmp_path / "envoy dir", **changed)  # type: ignore[arg-type]  # a table of cases
    write(settings)
    command = [str(ENVOY), "--mode", "validate", "--config-path", str(settings.config_file)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert found.returncode == 0, found.stderr[-2000:]
    complaints = [
        line for line in found.stderr.splitlines() if "[warning]" in line or "deprecated" in line.lower()
    ]
    assert complaints == []


def test_the_commented_copy_is_current() -> None:
    """gateway/envoy.yaml is what the defaults render: `python -m headrace.local.gateway` makes it so."""
    assert (ROOT / "gateway" / "envoy.yaml").read_text() == render(REFERENCE)
