"""The same scaling, over a fleet of the test's own and with a policy that looks ten times a second."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.scaling.app import Running, build
from headrace.scaling.core.policy import Rules
from headrace.scaling.policy_settings import PolicySettings
from headrace.scaling.settings import Settings
from tests.fakes.scaling import FakeFleet

POLICY = PolicySettings(rules=Rules(1, 5, 300.0), interval_s=0.1, window_s=0.3, stale_s=1.0)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """As of every test of scaling, with the policy and a store of its own."""
    return replace(settings, store=tmp_path / "scaling", policy=POLICY, drain_grace_s=1.0)


@pytest.fixture
async def fleet() -> FakeFleet:
    """Two replicas, whose load nobody tells: their sockets are not there."""
    return FakeFleet(0, 1)


@pytest.fixture
async def scaling(settings: Settings, fleet: FakeFleet) -> AsyncIterator[Running]:
    """A serving scaling that began with two."""
    policy = replace(settings.policy, replicas=2)
    async with build(replace(settings, policy=policy), fleet=fleet) as running:
        yield running
