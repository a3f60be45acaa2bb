"""Insight's settings."""

from pathlib import Path

import pytest

from headrace.insight.settings import MIB, Settings
from headrace.runtime.settings import SettingsError


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:9680", "10.0.0.1:9680", "example.com:9680", ":9680", "127.0.0.1"]
)
def test_the_page_is_for_the_loopback_only(listen: str) -> None:
    """It has no TLS: on any other address whoever is in between could read the token."""
    with pytest.raises(SettingsError, match="WEB_LISTEN"):
        Settings.read({"HEADRACE_INSIGHT_WEB_LISTEN": listen})
    for good in ("127.0.0.1:9680", "localhost:0", "[::1]:9680"):
        assert Settings.read({"HEADRACE_INSIGHT_WEB_LISTEN": good}).web_listen == good


def test_the_defaults_need_no_variable() -> None:
    """With nothing set, insight listens on loopback and keeps 256 MiB for a week."""
    settings = Settings.read({"PATH": "/bin"})
    assert settings == Settings()
    assert (settings.listen, settings.store_bytes, settings.trace_rate) == ("127.0.0.1:9600", 256 * MIB, 50)


def test_each_setting_can_be_set() -> None:
    """Values of the supervisor's environment arrive with their types."""
    settings = Settings.read(
        {
            "HEADRACE_INSIGHT_SOCKET": "/run/insight.grpc.sock",
            "HEADRACE_INSIGHT_STORE_BYTES": str(64 * MIB),
            "HEADRACE_INSIGHT_RETENTION_S": "3600",
        }
    )
    assert settings.socket == Path("/run/insight.grpc.sock")
    assert (settings.store_bytes, settings.retention_s) == (64 * MIB, 3600)


def test_every_mistake_is_named_at_once() -> None:
    """Three mistakes, three lines; a store that could not hold a few traces is one."""
    with pytest.raises(SettingsError) as raised:
        Settings.read(
            {
                "HEADRACE_INSIGHT_TRACE_RATE": "fast",
                "HEADRACE_INSIGHT_STORE_BYTE": "1",
                "HEADRACE_INSIGHT_STORE_BYTES": str(16 * MIB),
            }
        )
    assert [problem.split(":")[0] for problem in sorted(raised.value.problems)] == [
        "HEADRACE_INSIGHT_STORE_BYTE",
        "HEADRACE_INSIGHT_STORE_BYTES",
        "HEADRACE_INSIGHT_TRACE_RATE",
    ]


def test_the_queue_must_hold_a_message() -> None:
    """A queue smaller than a message could drop one that arrives at rest."""
    with pytest.raises(SettingsError, match="QUEUE_BYTES: must hold one message"):
        Settings.read({"HEADRACE_INSIGHT_QUEUE_BYTES": str(2 * MIB)})


def test_receivers_are_named_by_host_and_port() -> None:
    """A scheme or a Unix socket, which might be insight's own, is a mistake; spaces around a name are not."""
    good = Settings.read({"HEADRACE_INSIGHT_FORWARD": "jaeger:4317, [::1]:4317,"})
    assert good.forward == ("jaeger:4317", "[::1]:4317")
    with pytest.raises(SettingsError) as raised:
        Settings.read({"HEADRACE_INSIGHT_FORWARD": "http://jaeger:4317,unix:/run/i.sock,ok:1"})
    assert [problem.rpartition(" ")[2] for problem in raised.value.problems] == [
        "'http://jaeger:4317'",
        "'unix:/run/i.sock'",
    ]


def test_a_receivers_queue_must_hold_a_message() -> None:
    """As the store's: what finds no room in an empty queue would never leave."""
    with pytest.raises(SettingsError, match="FORWARD_QUEUE_BYTES: must hold one message"):
        Settings.read({"HEADRACE_INSIGHT_FORWARD_QUEUE_BYTES": str(2 * MIB)})
