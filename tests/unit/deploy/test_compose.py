"""deploy/compose.yaml agrees with the services that it runs."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from deploy.image import steward
from headrace.cache.settings import Settings as CacheSettings
from headrace.guard.settings import Settings as GuardSettings
from headrace.inference.settings import InferenceSettings
from headrace.insight.settings import Settings as InsightSettings
from headrace.insight.targets import Targets
from headrace.local import gateway
from headrace.metering.settings import Settings as MeteringSettings
from tests.unit.deploy.containers import DEPLOY, PROMETHEUS, SERVICES, modules, mount_of, mounts, ours

READERS: Mapping[str, Callable[[Mapping[str, str]], object]] = {
    "headrace.inference": InferenceSettings.read,
    "headrace.cache": CacheSettings.read,
    "headrace.guard": GuardSettings.read,
    "headrace.metering": MeteringSettings.read,
    "headrace.insight": InsightSettings.read,
}
NAMES = sorted(modules())
SOCKETS = Path("/var/lib/headrace/run")


def environment(name: str) -> Mapping[str, str]:
    found: Mapping[str, str] = SERVICES[name].get("environment", {})
    return found


def prefixed(name: str, key: str) -> str:
    """A setting of a container's own service."""
    return environment(name).get(f"HEADRACE_{modules()[name].rpartition('.')[2].upper()}_{key}", "")


def test_every_service_runs() -> None:
    """Each service with settings has a container, and no container runs anything else."""
    assert set(modules().values()) == set(READERS)


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_known(name: str) -> None:
    """A service takes its variables as they stand: none is misspelt, none is another service's."""
    module = modules()[name]
    READERS[module](environment(name))
    own = (f"HEADRACE_{module.rpartition('.')[2].upper()}_", "HEADRACE_TELEMETRY_")
    assert [key for key in environment(name) if not key.startswith(own)] == []
    assert all(isinstance(value, str) for value in environment(name).values())


@pytest.mark.parametrize("name", NAMES)
def test_every_path_is_mounted(name: str) -> None:
    """A file or socket that a variable names is in a volume of that container; only what it makes is writable."""
    for key, value in environment(name).items():
        path = Path(value.removeprefix("unix:"))
        if path.is_absolute():
            mount = mount_of(name, path)
            assert mount is not None, key
            reads_only = key.endswith(("_JWKS", "_FILE", "_REPOSITORY", "_TARGETS"))
            assert mount.read_only == reads_only, key


@pytest.mark.parametrize("name", NAMES)
def test_neighbours_meet_at_one_socket(name: str) -> None:
    """Each target is the socket that its owner listens on, in the one volume that all of them share."""
    listens = {prefixed(other, "SOCKET") for other in NAMES} - {""}
    targets = {
        value.removeprefix("unix:") for value in environment(name).values() if value.startswith("unix:")
    }
    assert targets <= listens
    assert all(Path(socket).parent == SOCKETS for socket in listens)
    run = mount_of(name, SOCKETS)
    assert run is not None
    assert (run.source, run.read_only) == ("run", False)


def test_only_loopback_is_published() -> None:
    """Services listen on all addresses inside; what leaves Docker is the gateway, Jaeger and Prometheus, on loopback."""
    published = {name: body["ports"] for name, body in SERVICES.items() if "ports" in body}
    assert set(published) == {"gateway", "jaeger", "prometheus"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert all(prefixed(name, "LISTEN").startswith("0.0.0.0:") for name in NAMES)
    assert published["gateway"] == [f"127.0.0.1:8080:{steward.gateway_settings(steward.MOUNTED.state).port}"]


def test_the_gateway_is_started_as_the_supervisor_starts_it() -> None:
    """The same options and environment, on the configuration that the steward writes."""
    settings = steward.gateway_settings(steward.MOUNTED.state)
    body = SERVICES["gateway"]
    command = gateway.command(Path(body["entrypoint"][0]), settings)
    assert [*body["entrypoint"], *body["command"]] == command
    assert environment("gateway") == gateway.ENVIRONMENT
    volume = mount_of("gateway", settings.config_file)
    assert volume is not None
    assert volume.source == "gateway"
    assert {"gateway", "run"} <= {mount.source for mount in mounts("steward") if not mount.read_only}


def test_the_gateway_knows_every_replica() -> None:
    """The replicas that the steward lists are those that run, at the sockets that they listen on."""
    listed = {
        name: steward.endpoint(steward.MOUNTED.state, name) for name in SERVICES["steward"]["command"][1:]
    }
    running = {name for name, module in modules().items() if module == "headrace.inference"}
    assert set(listed) == running
    for name, endpoint in listed.items():
        assert prefixed(name, "REPLICA") == name
        assert prefixed(name, "HOT_SOCKET") == str(endpoint.hot_socket)
        assert prefixed(name, "GRPC_SOCKET") == str(endpoint.grpc_socket)


def test_private_keys_have_one_reader() -> None:
    """The keys that sign tokens are in a volume of the steward alone; the others get copies of what they need."""
    readers = {
        volume: {name for name in SERVICES for m in mounts(name) if m.source == volume}
        for volume in ("state", "cache-secrets", "redis-secrets")
    }
    assert readers["state"] == {"steward"}
    assert readers["cache-secrets"] == {"steward", "cache", "inference-0", "inference-1"}
    assert readers["redis-secrets"] == {"steward", "redis"}


def test_no_secret_is_written_down() -> None:
    """No variable holds a password, a token or a key: files do."""
    secret = re.compile(r"(PASSWORD|TOKEN|SECRET|KEY)$")
    assert [key for name in SERVICES for key in environment(name) if secret.search(key)] == []


@pytest.mark.parametrize("name", sorted(ours()))
def test_containers_may_do_little(name: str) -> None:
    """Ours write to their volumes and /tmp only, and can't become anybody else."""
    body = SERVICES[name]
    assert body["read_only"]
    assert body["cap_drop"] == ["ALL"]
    assert body["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in body
    assert "privileged" not in body


def test_prometheus_asks_every_service() -> None:
    """Its targets, and insight's, are the addresses where services serve metrics, under the service's name."""
    (job,) = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text())["scrape_configs"]
    (source,) = job["file_sd_configs"]
    assert job["relabel_configs"] == [{"source_labels": ["service"], "target_label": "job"}]
    assert [PROMETHEUS / name for name in source["files"]] == [PROMETHEUS / "targets.json"]
    asked = {
        place.address: service for service, place in Targets(PROMETHEUS / "targets.json").read().values()
    }
    served = {
        f"{name}:{prefixed(name, 'METRICS_LISTEN').rpartition(':')[2]}": modules()[name].rpartition(".")[2]
        for name in NAMES
    }
    assert asked == served


def test_spans_reach_jaeger() -> None:
    """Insight sends to the collector's port, the collector to Jaeger, each in a network that both share."""
    collector = yaml.safe_load((DEPLOY / "otel" / "collector.yaml").read_text())
    received = collector["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].rpartition(":")[2]
    assert prefixed("insight", "FORWARD") == f"otel-collector:{received}"
    assert collector["exporters"]["otlp/jaeger"]["endpoint"] == "jaeger:4317"
    for one, other in (("insight", "otel-collector"), ("otel-collector", "jaeger"), ("cache", "redis")):
        assert set(SERVICES[one]["networks"]) & set(SERVICES[other]["networks"])
