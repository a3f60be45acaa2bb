"""Metering's settings: `HEADRACE_METERING_*`, listed in the README."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.metering.core.prices import DEFAULT_BOOK, PriceBooks, books_of
from headrace.runtime.settings import SettingsReader
from headrace.runtime.telemetry import TelemetrySettings

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """Where metering listens, where its ledger is, and what usage costs."""

    listen: str = "127.0.0.1:9400"
    metrics_listen: str = "127.0.0.1:9401"
    socket: Path | None = None
    jwks: Path = Path(".headrace/keys/jwks.json")
    ledger: Path = Path(".headrace/metering/ledger.sqlite3")
    edge: Path = Path(".headrace/metering/edge.sqlite3")
    edge_window_s: float = 120.0
    prices: PriceBooks = field(default_factory=lambda: PriceBooks([DEFAULT_BOOK]))
    guard: str = ""
    max_message_bytes: int = 4 * MIB
    drain_grace_s: float = 5.0
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "Settings":
        """Raises `SettingsError` with every mistake."""
        reader = SettingsReader(values, "HEADRACE_METERING")
        d = cls()
        settings = cls(
            listen=reader.text("LISTEN", d.listen),
            metrics_listen=reader.text("METRICS_LISTEN", d.metrics_listen),
            socket=reader.path("SOCKET", None),
            jwks=reader.path("JWKS", None) or d.jwks,
            ledger=reader.path("LEDGER", None) or d.ledger,
            edge=reader.path("EDGE", None) or d.edge,
            edge_window_s=reader.number("EDGE_WINDOW_S", d.edge_window_s, low=1, high=600),
            prices=_prices(reader, reader.text("PRICES", "")) or d.prices,
            guard=reader.text("GUARD", d.guard),
            max_message_bytes=reader.integer(
                "MAX_MESSAGE_BYTES", d.max_message_bytes, low=MIB, high=64 * MIB
            ),
            drain_grace_s=reader.number("DRAIN_GRACE_S", d.drain_grace_s, low=0, high=600),
            telemetry=TelemetrySettings.read(values),
        )
        reader.finish()
        return settings


def _prices(reader: SettingsReader, text: str) -> PriceBooks | None:
    """The price books of a JSON list; None when there is none, or the reader was told what is wrong."""
    if not text:
        return None
    try:
        # Numbers as they are written: 0.1 read as a float is no tenth.
        entries = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:  # the latter: nested too deeply
        reader.problem("PRICES", f"must be JSON: {error}")
        return None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        reader.problem("PRICES", "must be a list of price books")
        return None
    problems: list[str] = []
    books = books_of(entries, problems)
    for problem in problems:
        reader.problem("PRICES", problem)
    return books
