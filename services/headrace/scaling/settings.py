"""Scaling's settings: `HEADRACE_SCALING_*`, listed in the README."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.runtime.settings import SettingsReader
from headrace.runtime.telemetry import TelemetrySettings
from headrace.scaling.policy_settings import PolicySettings

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """Where scaling listens, whom it asks for replicas, and where it keeps what must outlive it.

    `endpoints` is what the gateway was told last: it belongs beside the
    replicas' sockets, and goes when they go.
    """

    listen: str = "127.0.0.1:9500"
    metrics_listen: str = "127.0.0.1:9501"
    socket: Path | None = None
    jwks: Path = Path(".headrace/keys/jwks.json")
    supervisor: str = "unix:.headrace/run/supervisor.sock"
    store: Path = Path(".headrace/scaling")
    endpoints: Path = Path(".headrace/run/endpoints.json")
    guard: str = ""
    policy: PolicySettings = field(default_factory=PolicySettings)
    max_message_bytes: int = 4 * MIB
    drain_grace_s: float = 5.0
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "Settings":
        """Raises `SettingsError` with every mistake."""
        reader = SettingsReader(values, "HEADRACE_SCALING")
        d = cls()
        settings = cls(
            listen=reader.text("LISTEN", d.listen),
            metrics_listen=reader.text_or_none("METRICS_LISTEN", d.metrics_listen),
            socket=reader.path("SOCKET", None),
            jwks=reader.path("JWKS", None) or d.jwks,
            supervisor=reader.text("SUPERVISOR", d.supervisor),
            store=reader.path("STORE", None) or d.store,
            endpoints=reader.path("ENDPOINTS", None) or d.endpoints,
            guard=reader.text("GUARD", d.guard),
            policy=PolicySettings.read(reader),
            max_message_bytes=reader.integer(
                "MAX_MESSAGE_BYTES", d.max_message_bytes, low=MIB, high=64 * MIB
            ),
            drain_grace_s=reader.number("DRAIN_GRACE_S", d.drain_grace_s, low=0, high=600),
            telemetry=TelemetrySettings.read(values),
        )
        reader.finish()
        return settings
