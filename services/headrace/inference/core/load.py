"""A replica's load, worked out from readings of its counters.

Pure: the shell (`load.py`) reads; this tells what the readings of a span of
time mean. Counters only rise, so a span needs its first and its last reading.
"""

from collections import deque
from dataclasses import dataclass

KEPT = 256
"""Readings that are kept: at four a second, a minute."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that is counted, at one moment; times are seconds.

    `cpu_s` is the process's CPU time, `answered` and `failed` count requests,
    `answered_s` is the time that the answered ones took together. `waiting` is
    the requests in the queues, `working` whether any waits or is executed.
    `memory` is the share in use.
    """

    at: float
    cpu_s: float
    answered: int
    answered_s: float
    failed: int
    waiting: int
    working: bool
    memory: float


@dataclass(frozen=True, slots=True)
class Load:
    """The load over a span.

    `cpu` and `memory` are shares, `rate` and `errors` requests per second (the
    errors are among the requests), `queue` is the mean number of requests that
    waited. `response_s` is the mean time of the requests that were answered. 0
    says that nobody waited for an answer; while somebody does and none comes,
    it is the time since it was otherwise.
    """

    cpu: float
    memory: float
    rate: float
    errors: float
    queue: float
    response_s: float


class LoadReadings:
    """The newest readings of one replica that may use `cores` cores."""

    def __init__(self, cores: float) -> None:
        self._cores = cores
        self._readings: deque[Reading] = deque(maxlen=KEPT)
        self._unanswered_since = 0.0

    def add(self, reading: Reading) -> None:
        """The next reading; its time is later than that of the last one."""
        if not self._readings or not reading.working or self._readings[-1].answered != reading.answered:
            self._unanswered_since = reading.at
        self._readings.append(reading)

    def load(self, span_s: float) -> Load | None:
        """The load of the last `span_s`, of at least two readings; None before the second one."""
        if len(self._readings) < 2:
            return None
        last = self._readings[-1]
        span = [reading for reading in self._readings if reading.at >= last.at - span_s]
        if len(span) < 2:
            span = list(self._readings)[-2:]
        first = span[0]
        seconds = last.at - first.at
        answered, failed = last.answered - first.answered, last.failed - first.failed
        return Load(
            cpu=(last.cpu_s - first.cpu_s) / (seconds * self._cores),
            memory=last.memory,
            rate=(answered + failed) / seconds,
            errors=failed / seconds,
            queue=sum(reading.waiting for reading in span[1:]) / (len(span) - 1),
            response_s=self._response_s(first, last, answered),
        )

    def _response_s(self, first: Reading, last: Reading, answered: int) -> float:
        if answered:
            return (last.answered_s - first.answered_s) / answered
        return last.at - self._unanswered_since if last.working else 0.0
