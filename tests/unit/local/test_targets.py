"""The list of processes for whoever asks for metrics."""

import json
from pathlib import Path

from headrace.local.spec import Spec
from headrace.local.targets import TargetsFile


def spec(name: str, service: str, *ports: int) -> Spec:
    return Spec(name, service, (), {}, f"127.0.0.1:{ports[0]}", ports, f"{service}.port", Path("log"))


REPLICA, GUARD = spec("inference-0", "inference", 9100, 9101), spec("guard", "guard", 9300, 9301)


def test_each_process_is_a_group(tmp_path: Path) -> None:
    """In Prometheus' form; Envoy and Valkey have no such address."""
    file = TargetsFile(tmp_path / "targets.json")
    file.write([REPLICA, GUARD, spec("gateway", "gateway", 8080), spec("valkey", "valkey", 9250)])
    assert json.loads((tmp_path / "targets.json").read_text()) == [
        {"targets": ["127.0.0.1:9101"], "labels": {"service": "inference", "replica": "inference-0"}},
        {"targets": ["127.0.0.1:9301"], "labels": {"service": "guard", "replica": "guard"}},
    ]


def test_it_is_replaced_only_when_processes_come_or_go(tmp_path: Path) -> None:
    """In one step: readers keep what they opened, and nothing is left beside it."""
    path = tmp_path / "targets.json"
    file = TargetsFile(path)
    file.write([REPLICA])
    first = path.stat().st_ino
    file.write([REPLICA])
    assert path.stat().st_ino == first
    with path.open() as opened:
        file.write([REPLICA, GUARD])
        assert len(json.loads(opened.read())) == 1
    assert len(json.loads(path.read_text())) == 2
    assert [found.name for found in tmp_path.iterdir()] == ["targets.json"]
