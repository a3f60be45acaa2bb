"""Insight's settings: `HEADRACE_INSIGHT_*`, listed in the README."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.runtime.settings import SettingsReader

MIB = 1024 * 1024
_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}")
_RECEIVER = re.compile(r"([A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where insight listens, what it keeps, how much of it, and to whom it passes spans on."""

    listen: str = "127.0.0.1:9600"
    metrics_listen: str = "127.0.0.1:9601"
    socket: Path | None = None
    jwks: Path = Path(".headrace/keys/jwks.json")
    keep: bool = True
    store: Path = Path(".headrace/traces.sqlite3")
    store_bytes: int = 256 * MIB
    retention_s: float = 7 * 86_400.0
    trace_rate: float = 50.0
    trace_burst: float = 500.0
    trace_spans: int = 2000
    trace_bytes: int = 2 * MIB
    queue_bytes: int = 16 * MIB
    forward: tuple[str, ...] = ()
    forward_queue_bytes: int = 8 * MIB
    guard: str = ""
    targets: Path | None = None
    gateway_admin: Path | None = None
    figures_interval_s: float = 2.0
    web_listen: str = ""
    max_message_bytes: int = 4 * MIB
    drain_grace_s: float = 5.0

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "Settings":
        """Raises `SettingsError` with every mistake."""
        reader = SettingsReader(values, "HEADRACE_INSIGHT")
        d = cls()
        settings = cls(
            listen=reader.text("LISTEN", d.listen),
            metrics_listen=reader.text_or_none("METRICS_LISTEN", d.metrics_listen),
            socket=reader.path("SOCKET", None),
            jwks=reader.path("JWKS", None) or d.jwks,
            keep=reader.flag("KEEP", default=d.keep),
            store=reader.path("STORE", None) or d.store,
            store_bytes=reader.integer("STORE_BYTES", d.store_bytes, low=16 * MIB, high=2**40),
            retention_s=reader.number("RETENTION_S", d.retention_s, low=60, high=10 * 366 * 86_400),
            trace_rate=reader.number("TRACE_RATE", d.trace_rate, low=0.1, high=1e6),
            trace_burst=reader.number("TRACE_BURST", d.trace_burst, low=1, high=1e6),
            trace_spans=reader.integer("TRACE_SPANS", d.trace_spans, low=1, high=10_000),
            trace_bytes=reader.integer("TRACE_BYTES", d.trace_bytes, low=64 * 1024, high=32 * MIB),
            queue_bytes=reader.integer("QUEUE_BYTES", d.queue_bytes, low=MIB, high=2**31),
            forward=tuple(filter(None, map(str.strip, reader.text("FORWARD", "").split(",")))),
            forward_queue_bytes=reader.integer(
                "FORWARD_QUEUE_BYTES", d.forward_queue_bytes, low=MIB, high=2**31
            ),
            guard=reader.text("GUARD", d.guard),
            targets=reader.path("TARGETS", None),
            gateway_admin=reader.path("GATEWAY_ADMIN", None),
            figures_interval_s=reader.number("FIGURES_INTERVAL_S", d.figures_interval_s, low=0.1, high=60),
            web_listen=reader.text("WEB_LISTEN", d.web_listen),
            max_message_bytes=reader.integer(
                "MAX_MESSAGE_BYTES", d.max_message_bytes, low=MIB // 4, high=64 * MIB
            ),
            drain_grace_s=reader.number("DRAIN_GRACE_S", d.drain_grace_s, low=0, high=600),
        )
        if settings.queue_bytes < settings.max_message_bytes:
            reader.problem("QUEUE_BYTES", "must hold one message, see HEADRACE_INSIGHT_MAX_MESSAGE_BYTES")
        if settings.forward_queue_bytes < settings.max_message_bytes:
            reader.problem("FORWARD_QUEUE_BYTES", "must hold one message, see MAX_MESSAGE_BYTES")
        for receiver in settings.forward:
            if not _RECEIVER.fullmatch(receiver):  # nor a Unix socket, which might be insight's own
                reader.problem("FORWARD", f"must be host:port of OTLP gRPC receivers, not {receiver!r}")
        if settings.store_bytes < 8 * max(settings.trace_bytes, settings.max_message_bytes):
            reader.problem("STORE_BYTES", "must hold eight traces of TRACE_BYTES, and eight messages")
        if settings.web_listen and not _LOOPBACK.fullmatch(settings.web_listen):
            # Without TLS, whoever is in between reads the token.
            reader.problem("WEB_LISTEN", f"must be a port of the loopback, not {settings.web_listen!r}")
        reader.finish()
        return settings
