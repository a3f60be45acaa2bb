"""Scaling's metrics, defined once."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class EndpointMetrics:
    """What the gateway is told, and how it takes it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.streams = Gauge(
            "headrace_scaling_endpoint_streams", "Streams of gateways that listen.", registry=registry
        )
        self.listed = Gauge(
            "headrace_scaling_listed_replicas", "Replicas that gateways are told of.", registry=registry
        )
        self.refused = Counter(
            "headrace_scaling_refused_endpoints",
            "Lists of endpoints that a gateway refused.",
            registry=registry,
        )
        self.unacknowledged = Counter(
            "headrace_scaling_unacknowledged_endpoints",
            "Lists of endpoints that a gateway did not acknowledge in time.",
            registry=registry,
        )
        self.supervisor_losses = Counter(
            "headrace_scaling_supervisor_losses", "Times that the supervisor was lost.", registry=registry
        )
