"""deploy/prometheus/rules.yaml asks for metrics that services have."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from headrace.cache.client import caching
from headrace.cache.core.breaker import State
from headrace.cache.levels import LevelState, Tally
from headrace.cache.metrics import ServiceCollector
from headrace.guard.client import holding_leases
from headrace.guard.metrics import GuardMetrics
from headrace.inference.statistics import InferenceMetrics
from headrace.insight.metrics import InsightMetrics
from headrace.metering.client import metering_usage
from headrace.metering.metrics import MeteringMetrics
from headrace.runtime.clock import SystemClock
from headrace.runtime.telemetry import Telemetry
from tests.unit.deploy.containers import PROMETHEUS

RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((PROMETHEUS / "rules.yaml").read_text())["groups"]
    for rule in group["rules"]
}
WORDS = {"histogram_quantile", "increase", "or", "rate", "sum", "vector"}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
NOBODY = "unix:/nonexistent/headrace.sock"


def metrics_in(expression: str) -> set[str]:
    """The names that are left without selectors, groupings, ranges and PromQL's own words."""
    bare = re.sub(r"\{[^}]*\}|\bby\s*\([^)]*\)|\[[^\]]*\]", " ", expression)
    return set(re.findall(r"[a-z_][a-z_0-9]*", bare)) - WORDS


def served(registry: CollectorRegistry) -> Iterator[str]:
    """The names of the samples that /metrics may have."""
    for family in registry.collect():
        yield from (family.name + suffix for suffix in SUFFIXES[family.type])


def empty(service: str) -> Telemetry:
    return Telemetry(service, TracerProvider(shutdown_on_exit=False))


async def known(outbox: Path) -> dict[str, set[str]]:
    """The names of each service's metrics, from what it registers."""
    services = {name: empty(name) for name in ("inference", "cache", "guard", "metering", "insight")}
    registries = {name: telemetry.registry for name, telemetry in services.items()}
    level = LevelState("redis", 0, 0, Tally(), 0, State.CLOSED, "")
    ServiceCollector(lambda: [level], lambda: 0, registries["cache"])
    GuardMetrics(registries["guard"])
    MeteringMetrics(registries["metering"])
    InsightMetrics(registries["insight"])
    InferenceMetrics(registries["inference"])
    replica, clock = services["inference"], SystemClock()
    async with (
        holding_leases(NOBODY, "inference-0", "one", clock, replica),
        caching(NOBODY, clock, replica),
        metering_usage(NOBODY, outbox, "inference-0", replica),
    ):
        return {name: set(served(registry)) for name, registry in registries.items()}


@pytest.mark.parametrize("alert", sorted(RULES))
async def test_its_metrics_exist(alert: str, tmp_path: Path) -> None:
    """A rule asks for what the job that it names serves; without a job, for what every service does."""
    expression = RULES[alert]["expr"]
    job = re.search(r'job="(\w+)"', expression)
    names = await known(tmp_path)
    there = names[job[1]] if job else set.intersection(*names.values())
    asked = metrics_in(expression)
    assert asked
    assert asked <= there | {"up"}  # which Prometheus makes


@pytest.mark.parametrize(
    ("alert", "bound", "length", "severity"),
    [("high_latency", "> 2", "300s", "warning"), ("low_throughput", "< 100", "600s", "critical")],
)
def test_the_required_rules(alert: str, bound: str, length: str, severity: str) -> None:
    """The rules that are asked for have their bounds, lengths and severities."""
    rule = RULES[alert]
    assert rule["expr"].endswith(bound)
    assert (rule["for"], rule["labels"]["severity"]) == (length, severity)


def test_rules_explain_themselves() -> None:
    """Each says how bad it is and what is wrong."""
    assert [
        name for name, rule in RULES.items() if rule["labels"]["severity"] not in ("warning", "critical")
    ] == []
    assert [name for name, rule in RULES.items() if not rule["annotations"].get("summary")] == []
