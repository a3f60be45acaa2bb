"""The guard's own metrics, defined once."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace.guard.core.frames import KnownBreaker


class GuardMetrics:
    """What is held, what is granted, what is open. No tenant is a label: their number has no bound."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.holders = Gauge("headrace_guard_holders", "Processes that share the limits.", registry=registry)
        self.tenants = Gauge("headrace_guard_active_tenants", "Tenants with leases.", registry=registry)
        self.frames = Counter("headrace_guard_frames", "Frames of holders.", registry=registry)
        self.granted = Counter("headrace_guard_granted_tokens", "Tokens granted.", registry=registry)
        self.denied = Counter("headrace_guard_denials", "Answers that granted too little.", registry=registry)
        self.open_breakers = Gauge(
            "headrace_guard_open_breakers", "Models whose breaker is not closed.", registry=registry
        )
        self.revoked = Gauge(
            "headrace_guard_revoked_tokens", "Revoked tokens that have not expired.", registry=registry
        )


class BreakerCollector(Collector):
    """The state of each breaker that is not as a new one, read when metrics are asked for."""

    def __init__(self, breakers: Callable[[], Sequence[KnownBreaker]], registry: CollectorRegistry) -> None:
        self._breakers = breakers
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "headrace_guard_breaker_state",
            "1 for the state of a model's breaker: closed, open or half_open.",
            labels=("model", "state"),
        )
        for breaker in self._breakers():
            family.add_metric((breaker.model, breaker.state.name.lower()), 1)
        yield family
