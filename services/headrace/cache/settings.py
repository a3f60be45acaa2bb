"""The cache's settings: `HEADRACE_CACHE_*`, listed in the README."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from headrace.runtime.settings import SettingsReader
from headrace.runtime.telemetry import TelemetrySettings

MIB = 1 << 20
SCHEMES = ("redis", "rediss", "unix")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the cache listens, what it keeps and for how long, and the store behind its memory.

    An empty `redis` is none. `guard` is the gRPC target that tells revoked tokens; empty: none.
    """

    listen: str = "127.0.0.1:9200"
    metrics_listen: str = "127.0.0.1:9201"
    socket: Path | None = None
    jwks: Path = Path(".headrace/keys/jwks.json")
    key_file: Path = Path(".headrace/keys/cache.key")
    max_entries: int = 1000
    max_bytes: int = 64 * MIB
    max_value_bytes: int = 4 * MIB
    ttl_s: float = 3600.0
    redis: str = "redis://cache@127.0.0.1:9250"
    redis_password_file: Path | None = None
    redis_budget_ms: float = 5.0
    heartbeat_s: float = 1.0
    guard: str = ""
    drain_grace_s: float = 5.0
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "Settings":
        """Raises `SettingsError` with every mistake."""
        reader = SettingsReader(values, "HEADRACE_CACHE")
        d = cls()
        settings = cls(
            listen=reader.text("LISTEN", d.listen),
            metrics_listen=reader.text_or_none("METRICS_LISTEN", d.metrics_listen),
            socket=reader.path("SOCKET", None),
            jwks=reader.path("JWKS", None) or d.jwks,
            key_file=reader.path("KEY_FILE", None) or d.key_file,
            max_entries=reader.integer("MAX_ENTRIES", d.max_entries, low=1, high=10**7),
            max_bytes=reader.integer("MAX_BYTES", d.max_bytes, low=MIB, high=2**40),
            max_value_bytes=reader.integer("MAX_VALUE_BYTES", d.max_value_bytes, low=1024, high=32 * MIB),
            ttl_s=reader.number("TTL_S", d.ttl_s, low=1, high=30 * 86_400),
            redis=reader.text_or_none("REDIS", d.redis),
            redis_password_file=reader.path("REDIS_PASSWORD_FILE", None),
            redis_budget_ms=reader.number("REDIS_BUDGET_MS", d.redis_budget_ms, low=0.5, high=1000),
            heartbeat_s=reader.number("HEARTBEAT_S", d.heartbeat_s, low=0.05, high=60),
            guard=reader.text("GUARD", d.guard),
            drain_grace_s=reader.number("DRAIN_GRACE_S", d.drain_grace_s, low=0, high=600),
            telemetry=TelemetrySettings.read(values),
        )
        if settings.redis:
            _check_url(reader, settings.redis)
        reader.finish()
        return settings


def _check_url(reader: SettingsReader, url: str) -> None:
    """Never repeats the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in SCHEMES and bool(parts.path if parts.scheme == "unix" else parts.hostname)
        _ = parts.port
    except ValueError:
        reader.problem("REDIS", "is no URL")
        return
    if not usable:
        reader.problem("REDIS", "must be redis://USER@HOST:PORT, rediss://… or unix://USER@/PATH")
    if parts.password is not None or "password" in parts.query:
        reader.problem("REDIS", "must hold no password: name a file with REDIS_PASSWORD_FILE")
