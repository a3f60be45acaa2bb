"""What headrace.yaml may say. The types are the rules; `reading` applies them.

Every key has a default, so one need not have a file. A mistake's fix says what a `description` expects, and shows an example.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

MIB = 1024 * 1024

Port = Annotated[int, Meta(ge=0, le=65534, description="a port, or 0 for a free one", examples=[8080])]
Rate = Annotated[int, Meta(ge=1, le=10_000_000, description="requests per second")]
Origin = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^/\s?#@]+$",
        description="an origin: scheme and host, no path",
        examples=["https://app.example.com"],
    ),
]
OtlpEndpoint = Annotated[
    str,
    Meta(
        pattern=r"^(insight|[A-Za-z0-9._-]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5})$",
        description='host:port of an OTLP gRPC receiver, or "insight" for our own',
        examples=["localhost:4317"],
    ),
]
INSIGHT = "insight"
Redis = Annotated[
    str,
    Meta(
        # No password: addresses are shown in logs and in the list of processes.
        pattern=r"^(embedded|none|rediss?://([A-Za-z0-9._-]+@)?([A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?(/[0-9]{1,3})?)$",
        description="embedded, none, or a Redis address without a password (that is for redis_password_file)",
        examples=["redis://cache@redis.example:6379"],
    ),
]
EMBEDDED, NONE = "embedded", "none"
Tenant = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$",
        description="a tenant: 1 to 63 of a-z, 0-9, '.', '_' and '-'",
        examples=["acme"],
    ),
]
TenantRate = Annotated[float, Meta(ge=0.001, le=10_000_000, examples=[1000])]
Burst = Annotated[int, Meta(ge=1, le=10_000_000, examples=[1000])]
Concurrency = Annotated[int, Meta(ge=1, le=1_000_000, examples=[100])]
Weight = Annotated[float, Meta(ge=1, le=1000, examples=[2])]
WaitMs = Annotated[int, Meta(ge=0, le=60_000, examples=[50])]

Share = Annotated[float, Meta(ge=0, le=1, description="a share from 0 to 1", examples=[0.7])]
ModelName = Annotated[
    str,
    Meta(
        pattern=r"^[^/\\,\s](?:[^/\\,]{0,253}[^/\\,\s])?$",
        description='a model of the repository, or "*" for all',
        examples=["linear"],
    ),
]

AS_WRITTEN = "as_written"
_WRITTEN = {AS_WRITTEN: True}
Version = Annotated[
    str,
    Meta(
        pattern=r"^[1-9][0-9]{0,8}$",
        description="a whole number from 1",
        examples=["1"],
        extra_json_schema=_WRITTEN,
    ),
]
EffectiveTime = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})$",
        description="a time with its zone",
        examples=["2026-01-31T00:00:00Z"],
        extra_json_schema=_WRITTEN,
    ),
]
Currency = Annotated[
    str, Meta(pattern=r"^[A-Z]{3}$", description="a code of three letters", examples=["USD"])
]
Price = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{1,3}(\.[0-9]{1,9})?$",
        description="a price: a decimal number below 1000 with at most 9 decimals",
        examples=["0.05"],
        extra_json_schema=_WRITTEN,
    ),
]


class GatewayLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """What the edge takes before it refuses."""

    tenant_rate: Rate = 20_000
    address_rate: Rate = 50_000
    max_message_bytes: Annotated[int, Meta(ge=1024, le=1024 * MIB)] = 64 * MIB
    max_deadline_s: Annotated[float, Meta(ge=0.1, le=3600)] = 30.0
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    max_in_flight: Annotated[int, Meta(ge=1, le=1_000_000)] = 16_384


class Gateway(Struct, frozen=True, forbid_unknown_fields=True):
    """The one address that clients know."""

    port: Port = 8080
    hot_path: Literal["h1", "h2"] = "h1"
    cors_origins: list[Origin] = []
    access_log: bool = False
    limits: GatewayLimits = field(default_factory=GatewayLimits)


class Model(Struct, frozen=True, forbid_unknown_fields=True):
    """What is set for one model, over its config.pbtxt."""

    max_batch_size: Annotated[int, Meta(ge=1, le=65_536, examples=[32])] | UnsetType = UNSET
    max_queue: Annotated[int, Meta(ge=1, le=1_000_000, examples=[512])] | UnsetType = UNSET
    max_delay_us: Annotated[int, Meta(ge=0, le=10_000_000, examples=[2000])] | UnsetType = UNSET
    eager: bool | UnsetType = UNSET
    timeout_ms: Annotated[int, Meta(ge=1, le=3_600_000, examples=[1000])] | UnsetType = UNSET
    instances: Annotated[int, Meta(ge=1, le=256, examples=[2])] | UnsetType = UNSET


class Inference(Struct, frozen=True, forbid_unknown_fields=True):
    """The replicas and their models. `port` is the first replica's, each further one's is 10 above.

    `model_control` is Triton's; `poll` looks every `poll_s`, `load_models` are explicit's first ("*": all).
    """

    port: Port = 9100
    replicas: Annotated[int, Meta(ge=1, le=64)] = 1
    instances: Annotated[int, Meta(ge=1, le=256, examples=[2])] | UnsetType = UNSET
    repository: Annotated[str, Meta(min_length=1, examples=["models"])] | UnsetType = UNSET
    model_control: Literal["none", "poll", "explicit"] = "none"
    poll_s: Annotated[float, Meta(ge=0.05, le=86_400, examples=[15])] = 15.0
    load_models: list[ModelName] = []
    drain_grace_s: Annotated[float, Meta(ge=0, le=600)] = 10.0
    shared_memory: bool = False
    share_slots: bool = True
    models: dict[str, Model] = {}


class Insight(Struct, frozen=True, forbid_unknown_fields=True):
    """The embedded trace store, the figures of the mesh, and the page that shows them (on `web_port`)."""

    port: Port = 9600
    web_port: Port = 9680
    store_bytes: Annotated[int, Meta(ge=16 * MIB, le=1024 * 1024 * MIB)] = 256 * MIB


class TenantLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """What one tenant may do, where it differs; `weight` is its share of a busy model beside others' 1."""

    rate: TenantRate | UnsetType = UNSET
    burst: Burst | UnsetType = UNSET
    concurrency: Concurrency | UnsetType = UNSET
    wait_ms: WaitMs | UnsetType = UNSET
    weight: Weight | UnsetType = UNSET


class Breaker(Struct, frozen=True, forbid_unknown_fields=True):
    """When a model that fails is left alone, and for how long."""

    failures: Annotated[int, Meta(ge=1, le=10_000)] = 5
    open_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 60.0


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """What each tenant may do. `wait_ms` is how long a request over its rate waits before it is refused.

    `revocation_staleness_s` is how long a replica that guard does not tell of revoked tokens any more serves on.
    """

    enabled: bool = True
    port: Port = 9300
    rate: TenantRate = 1000.0
    burst: Burst = 1000
    concurrency: Concurrency = 100
    wait_ms: WaitMs = 0
    breaker: Breaker = field(default_factory=Breaker)
    revocation_staleness_s: Annotated[float, Meta(ge=0, le=86_400)] = 600.0
    tenants: dict[Tenant, TenantLimits] = {}


class Cache(Struct, frozen=True, forbid_unknown_fields=True):
    """Answers of models that opted in: in the replicas' memory, in the service's, in Redis.

    `redis` is our own Valkey (on `valkey_port`), another server, or "none".
    """

    enabled: bool = True
    port: Port = 9200
    max_entries: Annotated[int, Meta(ge=1, le=10_000_000)] = 1000
    max_bytes: Annotated[int, Meta(ge=MIB, le=1024 * 1024 * MIB)] = 64 * MIB
    ttl_s: Annotated[float, Meta(ge=1, le=30 * 86_400)] = 3600.0
    near_entries: Annotated[int, Meta(ge=0, le=10_000_000)] = 1000
    near_bytes: Annotated[int, Meta(ge=0, le=1024 * 1024 * MIB)] = 64 * MIB
    redis: Redis = EMBEDDED
    redis_password_file: Annotated[str, Meta(min_length=1, examples=["redis.password"])] | UnsetType = UNSET
    redis_budget_ms: Annotated[float, Meta(ge=0.5, le=1000)] = 5.0
    valkey_port: Port = 9250


class PriceBook(Struct, frozen=True, forbid_unknown_fields=True):
    """What each kind of usage costs from a time on. Prices that are not given are the default's.

    Numbers stay the text that was written: money is never a float.
    """

    version: Version
    effective_time: EffectiveTime
    currency: Currency = "USD"
    gpu_hour: Price | UnsetType = UNSET
    cpu_hour: Price | UnsetType = UNSET
    storage_gb_month: Price | UnsetType = UNSET
    api_call: Price | UnsetType = UNSET
    network_gb: Price | UnsetType = UNSET


class Metering(Struct, frozen=True, forbid_unknown_fields=True):
    """What requests cost, and the ledger of it. Without `prices` metering's own book holds."""

    enabled: bool = True
    port: Port = 9400
    prices: list[PriceBook] = []


Seconds = Annotated[float, Meta(ge=0, le=3600, examples=[2.0])]
Waiting = Annotated[float, Meta(ge=0, le=1_000_000, examples=[50])]


class Up(Struct, frozen=True, forbid_unknown_fields=True):
    """Above which a signal asks for one more replica: shares, seconds of an answer, requests that wait."""

    cpu: Share = 0.7
    memory: Share = 0.8
    gpu: Share = 0.85
    response_s: Seconds = 2.0
    queue: Waiting = 50.0


class Down(Struct, frozen=True, forbid_unknown_fields=True):
    """Below which a signal asks for one replica less."""

    cpu: Share = 0.3
    memory: Share = 0.4
    gpu: Share = 0.4
    response_s: Seconds = 0.5
    queue: Waiting = 5.0


class Scaling(Struct, frozen=True, forbid_unknown_fields=True):
    """How many replicas there are, and where the gateway finds them.

    The number to begin with is `inference.replicas`. With `auto` it goes up by
    one when any two signals have been above `up` for `window_s`, and down by one
    when all have been below `down` for as long; then not again for `cooldown_s`.
    """

    port: Port = 9500
    auto: bool = True
    min: Annotated[int, Meta(ge=1, le=64)] = 1
    max: Annotated[int, Meta(ge=1, le=64, examples=[10])] = 10
    cooldown_s: Annotated[float, Meta(ge=0, le=86_400, examples=[300])] = 300.0
    interval_s: Annotated[float, Meta(ge=0.1, le=3600, examples=[5])] = 5.0
    window_s: Annotated[float, Meta(ge=0, le=86_400, examples=[30])] = 30.0
    stale_s: Annotated[float, Meta(ge=0.2, le=86_400, examples=[15])] = 15.0
    up: Up = field(default_factory=Up)
    down: Down = field(default_factory=Down)


class TelemetrySection(Struct, frozen=True, forbid_unknown_fields=True):
    """Where all spans go, the gateway's too.

    `otlp_endpoint` lists all receivers: leave "insight" out and only the others
    get them. They get them from insight, which then keeps none.
    """

    otlp_endpoint: list[OtlpEndpoint] = field(default_factory=lambda: [INSIGHT])
    sample_ratio: Annotated[float, Meta(ge=0, le=1)] = 1.0


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    gateway: Gateway = field(default_factory=Gateway)
    inference: Inference = field(default_factory=Inference)
    insight: Insight = field(default_factory=Insight)
    limits: Limits = field(default_factory=Limits)
    cache: Cache = field(default_factory=Cache)
    metering: Metering = field(default_factory=Metering)
    scaling: Scaling = field(default_factory=Scaling)
    telemetry: TelemetrySection = field(default_factory=TelemetrySection)
