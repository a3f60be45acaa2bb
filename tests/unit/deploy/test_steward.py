"""The steward: what it writes, and for whom."""

import json
from pathlib import Path

import pytest

from deploy.image.steward import Volumes, fill, gateway_settings, publish
from headrace.local.endpoints import GRPC, HOT
from headrace.local.endpoints import files as eds_files
from headrace.local.statedir import StateDir
from headrace.runtime.access import TokenVerifier
from headrace.runtime.clock import SystemClock


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    """Empty ones."""
    made = [tmp_path / name for name in ("public", "cache", "redis")]
    for folder in made:
        folder.mkdir()
    return Volumes(StateDir(tmp_path / "state"), *made)


def files(volumes: Volumes) -> dict[str, bytes]:
    """What the other containers are given."""
    folders = (volumes.public, volumes.cache, volumes.redis)
    return {path.name: path.read_bytes() for folder in folders for path in folder.iterdir()}


def test_each_volume_gets_what_its_reader_needs(volumes: Volumes) -> None:
    """The public keys, the cache's two secrets, Redis's list of users: all private to the user, none of it the password."""
    fill(volumes, ["inference-0"], SystemClock())
    found = files(volumes)
    assert set(found) == {"jwks.json", "cache.key", "redis.password", "users.acl"}
    assert len(found["cache.key"]) == 32
    assert found["redis.password"] not in found["users.acl"]
    folders = (volumes.public, volumes.cache, volumes.redis)
    assert {path.stat().st_mode & 0o777 for folder in folders for path in folder.iterdir()} == {0o600}


def test_a_second_start_changes_nothing(volumes: Volumes) -> None:
    """Keys, secrets and tokens outlive the containers."""
    fill(volumes, ["inference-0"], SystemClock())
    before = files(volumes), volumes.state.operator_token.read_text()
    fill(volumes, ["inference-0"], SystemClock())
    assert (files(volumes), volumes.state.operator_token.read_text()) == before


def test_replicas_that_are_named_are_listed(volumes: Volumes) -> None:
    """The gateway starts with them, and a replica that is no longer named is gone at the next start."""
    settings = gateway_settings(volumes.state)
    for names in (["inference-0", "inference-1"], ["inference-0"]):
        fill(volumes, names, SystemClock())
        for cluster in (HOT, GRPC):
            document = json.loads(eds_files(settings.config_dir)[cluster].read_text())
            endpoints = document["resources"][0]["endpoints"][0]["lb_endpoints"]
            assert [entry["endpoint"]["hostname"] for entry in endpoints] == names


def test_the_gateway_listens_on_all_addresses(volumes: Volumes) -> None:
    """A container's loopback can't be published."""
    fill(volumes, ["inference-0"], SystemClock())
    settings = gateway_settings(volumes.state)
    assert '{address: "0.0.0.0", port_value: 8080}' in settings.config_file.read_text()


def test_new_keys_are_published(volumes: Volumes) -> None:
    """A token of a key made later is taken by whoever reads the copy, and the old ones are too."""
    keys = fill(volumes, ["inference-0"], SystemClock())
    keys.rotate()
    publish(keys, volumes)
    verifier = TokenVerifier(volumes.public / "jwks.json")
    token = keys.issue("acme", ["infer"], 60)
    assert verifier.verify(f"Bearer {token.text}").tenant == "acme"
    assert verifier.verify(f"Bearer {volumes.state.demo_token.read_text()}").tenant == "demo"
