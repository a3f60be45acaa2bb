"""The guard's own metrics, defined once."""

from prometheus_client import CollectorRegistry, Counter, Gauge


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
