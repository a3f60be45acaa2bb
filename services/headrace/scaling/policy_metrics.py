"""Metrics of the decisions, defined once."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from headrace.scaling.core.policy import Decision
from headrace.scaling.core.signals import Signal

STARTED, STOPPED, FAILED = "started", "stopped", "failed"


class PolicyMetrics:
    """What is desired, what runs, and why."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._current = Gauge(
            "headrace_scaling_replicas_current", "Replicas that run and take requests.", registry=registry
        )
        self._desired = Gauge(
            "headrace_scaling_replicas_desired", "Replicas that there should be.", registry=registry
        )
        self._decisions = Counter(
            "headrace_scaling_decisions",
            "Decisions, those that change nothing too, by what they do and why.",
            ("action", "cause"),
            registry=registry,
        )
        self._steps = Counter(
            "headrace_scaling_steps",
            "Starts and stops of a replica, by outcome.",
            ("outcome",),
            registry=registry,
        )
        self._signals = Gauge(
            "headrace_scaling_signal", "The pool's signals, smoothed.", ("signal",), registry=registry
        )
        for outcome in (STARTED, STOPPED, FAILED):
            self._steps.labels(outcome)

    def decided(self, decision: Decision) -> None:
        """Counts a decision, and shows what it saw."""
        self._current.set(decision.running)
        self._desired.set(decision.after)
        self._decisions.labels(decision.action.name.lower(), decision.cause.name.lower()).inc()
        for reading in decision.readings:
            self._signals.labels(reading.signal.value).set(reading.value)
        for signal in set(Signal) - {reading.signal for reading in decision.readings}:
            self._signals.labels(signal.value).set(float("nan"))  # not known now

    def stepped(self, outcome: str) -> None:
        """Counts a start, a stop, or a failure of either."""
        self._steps.labels(outcome).inc()
