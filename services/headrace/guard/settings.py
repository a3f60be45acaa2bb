"""The guard's settings: `HEADRACE_GUARD_*`, listed in the README."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.guard.core.limits import LimitBook
from headrace.guard.core.parsing import LimitsInvalid, parsed
from headrace.runtime.settings import SettingsReader
from headrace.runtime.telemetry import TelemetrySettings


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the guard listens, what it limits, and where it keeps what must outlive it."""

    listen: str = "127.0.0.1:9300"
    metrics_listen: str = "127.0.0.1:9301"
    socket: Path | None = None
    jwks: Path = Path(".headrace/keys/jwks.json")
    store: Path = Path(".headrace/guard")
    limits: LimitBook = field(default_factory=LimitBook)
    lease_ttl_s: float = 1.0
    probe_s: float = 30.0
    max_message_bytes: int = 4 * 1024 * 1024
    drain_grace_s: float = 5.0
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "Settings":
        """Raises `SettingsError` with every mistake."""
        reader = SettingsReader(values, "HEADRACE_GUARD")
        d = cls()
        limits = _limits(reader)
        settings = cls(
            listen=reader.text("LISTEN", d.listen),
            metrics_listen=reader.text_or_none("METRICS_LISTEN", d.metrics_listen),
            socket=reader.path("SOCKET", None),
            jwks=reader.path("JWKS", None) or d.jwks,
            store=reader.path("STORE", None) or d.store,
            limits=limits,
            lease_ttl_s=reader.number("LEASE_TTL_S", d.lease_ttl_s, low=0.2, high=60),
            probe_s=reader.number("PROBE_S", d.probe_s, low=1, high=3600),
            max_message_bytes=reader.integer(
                "MAX_MESSAGE_BYTES", d.max_message_bytes, low=64 * 1024, high=64 * 1024 * 1024
            ),
            drain_grace_s=reader.number("DRAIN_GRACE_S", d.drain_grace_s, low=0, high=600),
            telemetry=TelemetrySettings.read(values),
        )
        reader.finish()
        return settings


def _limits(reader: SettingsReader) -> LimitBook:
    try:
        return parsed(reader.text("LIMITS", "{}"))
    except LimitsInvalid as invalid:
        for problem in invalid.problems:
            reader.problem("LIMITS", problem)
    return LimitBook()
