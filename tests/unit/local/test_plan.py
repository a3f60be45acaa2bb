"""From the configuration to the environment of each process."""

from pathlib import Path

import msgspec
import pytest

from headrace.inference.settings import InferenceSettings
from headrace.insight.settings import Settings as InsightSettings
from headrace.local import gateway
from headrace.local.config.reading import parse
from headrace.local.plan import Plan
from headrace.local.statedir import StateDir
from headrace.runtime.telemetry import TelemetrySettings

STATE = StateDir(Path("/s"))


def plan(config: str = "", **environ: str) -> Plan:
    return Plan(STATE, parse(config.encode(), "f"), environ, "/python", Path("/envoy"))


def test_defaults_are_good_settings() -> None:
    """What a service gets from an empty configuration is what it takes."""
    inference = InferenceSettings.read(plan().replica_spec(1, 9110).env)
    assert (inference.listen, inference.metrics_listen) == ("127.0.0.1:9110", "127.0.0.1:9111")
    assert (inference.replica, inference.repository) == ("inference-1", STATE.models)
    assert inference.telemetry.otlp == (f"unix:{STATE.insight_socket}",)
    insight = InsightSettings.read(plan().insight_spec(9600).env)
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
    insight = InsightSettings.read(made.insight_spec(9600).env)
    assert (insight.keep, insight.forward) == (kept, forwarded)


def test_insight_does_not_trace_into_itself() -> None:
    """Each span of insight's own would make another one."""
    assert TelemetrySettings.read(plan().insight_spec(9600).env).otlp == ()


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
