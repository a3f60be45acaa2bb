"""Settings of an inference replica, from HEADRACE_INFERENCE_* variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec

from headrace.runtime.settings import SettingsReader
from headrace.runtime.telemetry import TelemetrySettings

PREFIX = "HEADRACE_INFERENCE"
MODES = NONE, POLL, EXPLICIT = ("none", "poll", "explicit")

Weight = Annotated[float, msgspec.Meta(ge=1, le=1000)]
"""A tenant's share of a model, beside that of the others that wait."""


class ModelOverride(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator sets for one model, over its config.pbtxt; absent means as it is.

    `max_delay_us` bounds how long a batch waits for more rows while no instance
    is idle; `eager: false` makes it wait that long even when one is.
    """

    max_batch_size: int | None = None
    max_queue: int | None = None
    max_delay_us: int | None = None
    eager: bool | None = None
    timeout_ms: int | None = None
    instances: int | None = None


@dataclass(frozen=True, slots=True)
class RepositorySettings:
    """Where the models are, and when they are loaded.

    `mode` is Triton's model control mode: `none` (all of them, once), `poll` (all
    of them, and again when they have changed), `explicit` (those of `load`, "*"
    for all, and then on request). `shared` is the directory in which the replicas
    of a mesh agree on what was requested, None for a replica that is alone.
    """

    root: Path = Path("models")
    mode: str = "none"
    poll_s: float = 15.0
    load: tuple[str, ...] = ()
    shared: Path | None = None
    max_version_bytes: int = 64 * 1024**3

    @classmethod
    def read(cls, reader: SettingsReader) -> "RepositorySettings":
        """The repository's part of the settings."""
        return cls(
            root=reader.path("REPOSITORY", None) or Path("models"),
            mode=reader.choice("MODEL_CONTROL", "none", MODES),
            poll_s=reader.number("REPOSITORY_POLL_S", 15.0, low=0.05, high=86_400.0),
            load=tuple(name for name in reader.text("LOAD_MODELS", "").split(",") if name),
            shared=reader.path("CONTROL_DIR", None),
            max_version_bytes=reader.integer("MAX_VERSION_BYTES", 64 * 1024**3, low=1, high=2**50),
        )

    @property
    def digests(self) -> Path | None:
        """The file of the digests that the replicas know; None for one that is alone."""
        return None if self.shared is None else self.shared / "digests.json"


@dataclass(frozen=True, slots=True)
class InferenceSettings:
    """One replica's settings.

    `hot_socket` is where the gateway reaches ModelInfer and the REST bridge by
    gRPC over HTTP/1.1, `grpc_socket` where it reaches everything by HTTP/2.
    `instances` is how many batches of a model run at once, each on one thread.
    `guard`, `cache` and `metering` are gRPC targets (`unix:/path`, `host:port`);
    an empty one means none: no limits, no cached answers, no bill. `outbox` is
    the directory of usage events that metering has not taken yet, `cache_key`
    the file with the secret of cache keys. `sync_timeout_ms` is how long a
    request waits for a guard that does not answer. `flights` is how many of the
    last requests the flight recorder keeps, 105 bytes each. `weights` has the
    tenants whose share of a busy model is not that of every other (1). With
    `shared_memory` callers on this machine may have tensors read from their shared
    memory and written there. With `share_slots` the replicas that share a control
    directory run no more batches of a model at once than one of them would.
    """

    listen: str = "127.0.0.1:9100"
    metrics_listen: str = "127.0.0.1:9101"
    hot_socket: Path | None = None
    grpc_socket: Path | None = None
    repository: RepositorySettings = field(default_factory=RepositorySettings)
    replica: str = "inference-0"
    jwks: Path = Path("jwks.json")
    drain_grace_s: float = 10.0
    max_message_bytes: int = 64 * 1024 * 1024
    max_buffered_bytes: int = 512 * 1024 * 1024
    instances: int = 2
    models: Mapping[str, ModelOverride] = field(default_factory=dict)
    guard: str = ""
    sync_timeout_ms: float = 25.0
    revocation_staleness_s: float = 600.0
    cache: str = ""
    cache_key: Path = Path("cache.key")
    near_entries: int = 1000
    near_bytes: int = 64 * 1024 * 1024
    cache_ttl_s: float = 3600.0
    metering: str = ""
    outbox: Path = Path("outbox")
    outbox_events: int = 2_400_000
    outbox_sync: bool = False
    flights: int = 100_000
    weights: Mapping[str, float] = field(default_factory=dict)
    shared_memory: bool = False
    share_slots: bool = True
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "InferenceSettings":
        """Raises `SettingsError` with every mistake."""
        reader = SettingsReader(values, PREFIX)
        settings = cls(
            listen=reader.text("LISTEN", "127.0.0.1:9100"),
            metrics_listen=reader.text_or_none("METRICS_LISTEN", "127.0.0.1:9101"),
            hot_socket=reader.path("HOT_SOCKET", None),
            grpc_socket=reader.path("GRPC_SOCKET", None),
            repository=RepositorySettings.read(reader),
            replica=reader.text("REPLICA", "inference-0"),
            jwks=reader.path("JWKS", None) or Path("jwks.json"),
            drain_grace_s=reader.number("DRAIN_GRACE_S", 10.0, low=0.0, high=600.0),
            max_message_bytes=reader.integer("MAX_MESSAGE_BYTES", 64 * 1024 * 1024, low=1024, high=2**31 - 1),
            max_buffered_bytes=reader.integer("MAX_BUFFERED_BYTES", 512 * 1024 * 1024, low=1024, high=2**40),
            instances=reader.integer("INSTANCES", os.cpu_count() or 1, low=1, high=256),
            models=_overrides(reader),
            guard=reader.text("GUARD", ""),
            sync_timeout_ms=reader.number("LIMITS_SYNC_TIMEOUT_MS", 25.0, low=1.0, high=60_000.0),
            revocation_staleness_s=reader.number("REVOCATION_STALENESS_S", 600.0, low=0.0, high=86_400.0),
            cache=reader.text("CACHE", ""),
            cache_key=reader.path("CACHE_KEY_FILE", None) or Path("cache.key"),
            near_entries=reader.integer("NEAR_CACHE_ENTRIES", 1000, low=0, high=10_000_000),
            near_bytes=reader.integer("NEAR_CACHE_BYTES", 64 * 1024 * 1024, low=0, high=2**40),
            cache_ttl_s=reader.number("CACHE_TTL_S", 3600.0, low=1.0, high=30 * 86_400.0),
            metering=reader.text("METERING", ""),
            outbox=reader.path("OUTBOX", None) or Path("outbox"),
            outbox_events=reader.integer("OUTBOX_EVENTS", 2_400_000, low=1, high=10**9),
            outbox_sync=reader.flag("OUTBOX_SYNC", default=False),
            flights=reader.integer("FLIGHTS", 100_000, low=1, high=10_000_000),
            weights=_weights(reader),
            shared_memory=reader.flag("SHARED_MEMORY", default=False),
            share_slots=reader.flag("SHARE_SLOTS", default=True),
            telemetry=TelemetrySettings.read(values),
        )
        reader.finish()
        return settings

    @property
    def slots(self) -> Path | None:
        """The directory of the slots that replicas share; None without any."""
        shared = self.repository.shared
        return shared / "slots" if shared is not None and self.share_slots else None


def _weights(reader: SettingsReader) -> dict[str, float]:
    text = reader.text("WEIGHTS", "{}")
    try:
        return msgspec.json.decode(text, type=dict[str, Weight])
    except msgspec.MsgspecError as error:
        reader.problem("WEIGHTS", f"must be a JSON object of weights from 1 to 1000: {error}")
        return {}


def _overrides(reader: SettingsReader) -> dict[str, ModelOverride]:
    text = reader.text("MODELS", "{}")
    try:
        return msgspec.json.decode(text, type=dict[str, ModelOverride])
    except msgspec.MsgspecError as error:
        reader.problem("MODELS", f"must be a JSON object of model settings: {error}")
        return {}
