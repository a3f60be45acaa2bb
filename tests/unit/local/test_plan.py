"""From the configuration to the environment of each process."""

import json
from pathlib import Path

import msgspec
import pytest

from headrace.cache.settings import Settings as CacheSettings
from headrace.inference.settings import InferenceSettings
from headrace.insight.settings import Settings as InsightSettings
from headrace.local import gateway
from headrace.local.config.reading import parse
from headrace.local.plan import Plan
from headrace.local.statedir import StateDir
from headrace.metering.settings import Settings as MeteringSettings
from headrace.runtime.telemetry import TelemetrySettings
from headrace.scaling.core.conditions import Threshold
from headrace.scaling.core.policy import Rules
from headrace.scaling.core.signals import Signal
from headrace.scaling.policy_settings import PolicySettings
from headrace.scaling.settings import Settings as ScalingSettings

STATE = StateDir(Path("/s"))


def plan(config: str = "", **environ: str) -> Plan:
    return Plan(STATE, parse(config.encode(), "f"), environ, "/python", Path("/envoy"), Path("/valkey"))


def names(made: Plan) -> list[str]:
    """Which processes there are besides the gateway and the replicas."""
    return [spec.name for spec in made.neighbours(lambda _: 1)]


def test_defaults_are_good_settings() -> None:
    """What a service gets from an empty configuration is what it takes."""
    inference = InferenceSettings.read(plan().replica_spec(1, 9110).env)
    assert (inference.listen, inference.metrics_listen) == ("127.0.0.1:9110", "127.0.0.1:9111")
    assert (inference.replica, inference.repository.root) == ("inference-1", STATE.models)
    assert inference.telemetry.otlp == (f"unix:{STATE.insight_socket}",)
    insight = InsightSettings.read(plan().insight_spec(9600, 9680).env)
    assert (insight.listen, insight.store, insight.socket) == (
        "127.0.0.1:9600",
        STATE.traces,
        STATE.insight_socket,
    )


def test_models() -> None:
    """What the file says of a model reaches the replica, and nothing that it does not say."""
    config = "inference: {instances: 3, models: {linear: {max_queue: 7, eager: false}}}"
    settings = InferenceSettings.read(plan(config).replica_spec(0, 9100).env)
    assert settings.instances == 3
    assert (settings.models["linear"].max_queue, settings.models["linear"].eager) == (7, False)
    assert settings.models["linear"].max_batch_size is None


@pytest.mark.parametrize(
    ("endpoints", "exported", "kept", "forwarded"),
    [
        ("[insight]", True, True, ()),
        ("[insight, 'jaeger:4317', '[::1]:4317']", True, True, ("jaeger:4317", "[::1]:4317")),
        ("['jaeger:4317']", True, False, ("jaeger:4317",)),
        ("[]", False, False, ()),
    ],
)
def test_receivers(endpoints: str, exported: bool, kept: bool, forwarded: tuple[str, ...]) -> None:
    """Spans go to our own store, to a Jaeger as well, to a Jaeger instead, or nowhere: insight passes all of them on."""
    made = plan(f"telemetry: {{otlp_endpoint: {endpoints}, sample_ratio: 0.5}}")
    settings = TelemetrySettings.read(made.replica_spec(0, 1).env)
    assert settings.otlp == ((f"unix:{STATE.insight_socket}",) if exported else ())
    assert settings.sample_ratio == 0.5
    insight = InsightSettings.read(made.insight_spec(9600, 9680).env)
    assert (insight.keep, insight.forward) == (kept, forwarded)


def test_insight_does_not_trace_into_itself() -> None:
    """Each span of insight's own would make another one."""
    assert TelemetrySettings.read(plan().insight_spec(9600, 9680).env).otlp == ()


def test_replicas_share_slots_unless_told_not_to() -> None:
    """In the directory in which they agree; `share_slots: false` and nothing shared are both no directory."""
    assert InferenceSettings.read(plan().replica_spec(1, 9110).env).slots == STATE.control / "slots"
    alone = plan("inference: {share_slots: false}").replica_spec(1, 9110)
    assert InferenceSettings.read(alone.env).slots is None
    assert InferenceSettings.read({}).slots is None


def test_environment_wins_over_the_file() -> None:
    """A variable that the user set wins over headrace.yaml, never over where the processes find each other."""
    made = plan(
        "inference: {instances: 3}", HEADRACE_INFERENCE_INSTANCES="5", HEADRACE_INFERENCE_LISTEN="0.0.0.0:1"
    )
    settings = InferenceSettings.read(made.replica_spec(0, 9100).env)
    assert (settings.instances, settings.listen) == (5, "127.0.0.1:9100")


def test_envoy_gets_no_secrets() -> None:
    """Envoy's environment has what a program needs, and nothing that the user's holds besides."""
    assert plan("", PATH="/bin", AWS_SECRET_ACCESS_KEY="x").gateway_spec(8080).env == {
        **gateway.ENVIRONMENT,
        "PATH": "/bin",
    }


def test_limits() -> None:
    """Every limit of the file is a setting of the gateway, by the same name."""
    config = plan("gateway: {hot_path: h2, cors_origins: ['https://a'], limits: {tenant_rate: 3}}")
    settings = config.gateway_settings(1)
    assert (settings.hot_path, settings.cors_origins, settings.tenant_rate) == ("h2", ("https://a",), 3)
    for name, value in msgspec.structs.asdict(config.config.gateway.limits).items():
        assert getattr(settings, name) == value


def test_neighbours() -> None:
    """All of them by default, each on its own ports and reached by its socket."""
    specs = {spec.name: spec for spec in plan().neighbours(lambda _: 1)}
    assert {name: spec.ports for name, spec in specs.items()} == {
        "insight": (9600, 9601, 9680),
        "guard": (9300, 9301),
        "valkey": (9250,),
        "cache": (9200, 9201),
        "metering": (9400, 9401),
        "scaling": (9500, 9501),
    }
    settings = InferenceSettings.read(plan().replica_spec(0, 9100).env)
    assert (settings.guard, settings.cache, settings.metering) == (
        "unix:/s/run/guard.grpc.sock",
        "unix:/s/run/cache.grpc.sock",
        "unix:/s/run/metering.grpc.sock",
    )
    assert (settings.outbox, settings.cache_key) == (STATE.outbox, STATE.cache_key)


@pytest.mark.parametrize(
    ("off", "gone"),
    [("limits", {"guard"}), ("cache", {"cache", "valkey"}), ("metering", {"metering"})],
)
def test_switched_off(off: str, gone: set[str]) -> None:
    """What is switched off is not started, and no process is told of it."""
    made = plan(f"{off}: {{enabled: false}}")
    assert set(names(plan())) - set(names(made)) == gone
    told = [*made.neighbours(lambda _: 1), made.replica_spec(0, 9100)]
    assert not [text for spec in told for text in spec.env.values() if f"{min(gone)}.grpc.sock" in text]


def test_everything_off() -> None:
    """The replica then has no limits, no cache and no bill: its settings are empty."""
    made = plan("limits: {enabled: false}\ncache: {enabled: false}\nmetering: {enabled: false}")
    settings = InferenceSettings.read(made.replica_spec(0, 9100).env)
    assert names(made) == ["insight", "scaling"]
    assert (settings.guard, settings.cache, settings.metering) == ("", "", "")


def test_free_ports() -> None:
    """Port 0 takes a free one: two in a row for a service and its metrics, one for Valkey, which cache is told."""
    wanted: list[int] = []

    def free(count: int) -> int:
        wanted.append(count)
        return 20_000 + 10 * len(wanted)

    config = "insight: {port: 0}\nlimits: {port: 0}\ncache: {port: 0, valkey_port: 0}\nmetering: {port: 0}\n"
    config += "scaling: {port: 0}"
    specs = {spec.name: spec for spec in plan(config).neighbours(free)}
    assert sorted(wanted) == [1, 2, 2, 2, 2, 2]
    (valkey,) = specs["valkey"].ports
    assert CacheSettings.read(specs["cache"].env).redis == f"redis://cache@127.0.0.1:{valkey}"


def test_cache() -> None:
    """What the file says of the cache reaches it, our own Valkey and its password by default."""
    spec = plan("cache: {max_entries: 7, max_bytes: 2097152, ttl_s: 9, redis_budget_ms: 3}").cache_spec(1, 2)
    settings = CacheSettings.read(spec.env)
    assert (settings.max_entries, settings.max_bytes, settings.ttl_s) == (7, 2097152, 9.0)
    assert (settings.redis, settings.redis_budget_ms) == ("redis://cache@127.0.0.1:2", 3.0)
    assert (settings.redis_password_file, settings.key_file) == (STATE.valkey_password, STATE.cache_key)


@pytest.mark.parametrize("address", ["redis://u@redis.example:6380", "none"])
def test_another_redis(address: str) -> None:
    """With a Redis of the user's own, or none, no Valkey is started."""
    made = plan(f"cache: {{redis: '{address}', redis_password_file: /p}}")
    settings = CacheSettings.read(made.cache_spec(1, 2).env)
    assert "valkey" not in names(made)
    assert settings.redis == ("" if address == "none" else address)
    assert settings.redis_password_file == Path("/p")


def test_limits_of_tenants() -> None:
    """Guard gets every limit, and of a tenant what the file says of it and nothing else."""
    tenants = "{acme: {burst: 20, weight: 3}}"
    made = plan(f"limits: {{rate: 0.01, wait_ms: 5, tenants: {tenants}, breaker: {{open_s: 1}}}}")
    assert json.loads(made.guard_spec(9300).env["HEADRACE_GUARD_LIMITS"]) == {
        "rate": 0.01,
        "burst": 1000,
        "concurrency": 100,
        "wait_ms": 5,
        "breaker": {"failures": 5, "open_s": 1.0},
        "tenants": {"acme": {"burst": 20}},
    }


def test_weights_of_tenants() -> None:
    """They are the replicas' to know, whether or not there are limits."""
    for enabled in ("true", "false"):
        made = plan(f"limits: {{enabled: {enabled}, tenants: {{acme: {{weight: 3}}, other: {{burst: 20}}}}}}")
        assert InferenceSettings.read(made.replica_spec(0, 9100).env).weights == {"acme": 3.0}


def test_prices() -> None:
    """A price book of the file is metering's, to the digit."""
    book = "{version: 2, effective_time: 2026-01-31T00:00:00Z, api_call: 0.002}"
    spec = plan(f"metering: {{prices: [{book}]}}").metering_spec(9400)
    (found,) = MeteringSettings.read(spec.env).prices.all
    assert (found.version, found.api_call, found.cpu_hour) == (2, 2_000_000, 100_000_000)


def test_revoked_tokens() -> None:
    """Every service hears of revoked tokens from guard, and from nobody where guard is off."""
    for config, target in (("", "unix:/s/run/guard.grpc.sock"), ("limits: {enabled: false}", "")):
        made = plan(config)
        told = [
            CacheSettings.read(made.cache_spec(1, 2).env).guard,
            MeteringSettings.read(made.metering_spec(1).env).guard,
            InsightSettings.read(made.insight_spec(1, 3).env).guard,
            ScalingSettings.read(made.scaling_spec(1).env).guard,
        ]
        assert told == [target] * 4


def test_services_start_no_traces() -> None:
    """Only calls that come with a sampled parent are traced in cache, guard, metering and scaling."""
    for spec in plan("telemetry: {sample_ratio: 1}").neighbours(lambda _: 1):
        if spec.name in ("cache", "guard", "metering", "scaling"):
            settings = TelemetrySettings.read(spec.env)
            assert (settings.sample_ratio, settings.otlp) == (0.0, (f"unix:{STATE.insight_socket}",))


def test_valkey_gets_no_secrets() -> None:
    """Valkey's environment has no more of the user's than Envoy's; its password is in a file."""
    spec = plan("", PATH="/bin", AWS_SECRET_ACCESS_KEY="x").valkey_spec(9250, Path("/valkey"))
    assert spec.env == {"PATH": "/bin"}
    assert spec.command == ("/valkey", str(STATE.valkey / "valkey.conf"))


def test_the_policy_of_the_file_is_scalings() -> None:
    """Every key of the section arrives, with the number of replicas to begin with; no section, the defaults."""
    text = (
        "inference: {replicas: 2}\nscaling: {auto: false, max: 4, window_s: 2, stale_s: 3, interval_s: 0.5, "
    )
    text += "cooldown_s: 1, up: {cpu: 0.5}, down: {queue: 1}}"
    policy = ScalingSettings.read(plan(text).scaling_spec(9500).env).policy
    assert (policy.auto, policy.replicas, policy.rules) == (False, 2, Rules(1, 4, 1.0))
    assert (policy.interval_s, policy.window_s, policy.stale_s) == (0.5, 2.0, 3.0)
    assert policy.thresholds[Signal.CPU] == Threshold(0.5, 0.3)
    assert policy.thresholds[Signal.QUEUE] == Threshold(50.0, 1.0)
    assert ScalingSettings.read(plan().scaling_spec(9500).env).policy == PolicySettings()
