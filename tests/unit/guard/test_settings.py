"""The guard's settings."""

from pathlib import Path

import pytest

from headrace.guard.core.limits import Limits
from headrace.guard.settings import Settings
from headrace.runtime.settings import SettingsError


def test_the_defaults_need_no_variable() -> None:
    """With nothing set: loopback, and the limits of the specification."""
    settings = Settings.read({"PATH": "/bin"})
    assert settings == Settings()
    assert (settings.listen, settings.metrics_listen) == ("127.0.0.1:9300", "127.0.0.1:9301")
    assert settings.limits.default == Limits(1000.0, 1000, 100, 0.0)


def test_each_setting_can_be_set() -> None:
    """Values of the supervisor's environment arrive with their types; no metrics when set to nothing."""
    settings = Settings.read(
        {
            "HEADRACE_GUARD_SOCKET": "/run/guard.grpc.sock",
            "HEADRACE_GUARD_STORE": "/state/guard",
            "HEADRACE_GUARD_METRICS_LISTEN": "",
            "HEADRACE_GUARD_LEASE_TTL_S": "2.5",
            "HEADRACE_GUARD_LIMITS": '{"tenants": {"acme": {"rate": 0.01, "burst": 20}}}',
        }
    )
    assert (settings.socket, settings.store) == (Path("/run/guard.grpc.sock"), Path("/state/guard"))
    assert (settings.metrics_listen, settings.lease_ttl_s) == ("", 2.5)
    assert settings.limits.of("acme") == Limits(0.01, 20, 100, 0.0)


def test_every_mistake_is_named_at_once() -> None:
    """Those inside the limits too, each with its place."""
    with pytest.raises(SettingsError) as raised:
        Settings.read(
            {
                "HEADRACE_GUARD_LEASE_TTL_S": "0",
                "HEADRACE_GUARD_LIMIT": "{}",
                "HEADRACE_GUARD_LIMITS": '{"rate": -1, "tenants": {"acme": {"burst": 0}}}',
            }
        )
    assert sorted(raised.value.problems) == [
        "HEADRACE_GUARD_LEASE_TTL_S: must be between 0.2 and 60, not 0.0",
        "HEADRACE_GUARD_LIMIT: no such setting",
        "HEADRACE_GUARD_LIMITS: rate must be between 1e-06 and 1000000000, not -1",
        "HEADRACE_GUARD_LIMITS: tenants.acme.burst must be between 1 and 1000000000, not 0",
    ]
