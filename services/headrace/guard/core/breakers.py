"""The breakers of all models, and who probes them."""

from collections.abc import Iterable

from headrace.guard.core.breaker import Breaker, State
from headrace.guard.core.frames import Grant, KnownBreaker, Outcome, Want
from headrace.guard.core.limits import BreakerRule, Code

PROBE_S = 30.0
"""A probe that has not ended by then is given up."""
MOST_DENIAL_S = 1.0


class Breakers:
    """One breaker for each model that failed of late."""

    def __init__(self, rule: BreakerRule, probe_s: float = PROBE_S) -> None:
        self.rule = rule
        self._probe_s = probe_s
        self._breakers: dict[str, Breaker] = {}
        self._probers: dict[int, tuple[str, str]] = {}
        self._probes = 0

    def record(self, outcomes: Iterable[Outcome], now: float) -> bool:
        """Takes what a holder reports; whether a state changed."""
        changed = False
        for outcome in outcomes:
            breaker = self._breakers.get(outcome.model)
            if breaker is None:
                if outcome.code is not Code.FAILURE:
                    continue
                breaker = self._breakers[outcome.model] = Breaker(self.rule)
            before = breaker.state
            if self._probers.pop(outcome.probe, None):
                breaker.probed(outcome.probe, outcome.code, now)
            else:
                breaker.record(outcome.code, outcome.count, now)
            changed |= breaker.state is not before
            if breaker.idle:
                del self._breakers[outcome.model]
        return changed

    def probe(self, holder: str, want: Want, now: float) -> Grant:
        """Whether the holder's request is the one that may pass."""
        breaker = self._breakers.get(want.model)
        self._probes += 1
        if breaker is None or breaker.state is State.CLOSED:
            # Closed meanwhile, as the Snapshot before this answer said: no probe, but it may pass.
            return Grant(model=want.model, sequence=want.sequence, probe=self._probes)
        if breaker.probe(self._probes, now, self._probe_s):
            self._probers[self._probes] = (want.model, holder)
            return Grant(model=want.model, sequence=want.sequence, probe=self._probes)
        retry_s = breaker.wait_s(now) or min(breaker.probe_wait_s(now), MOST_DENIAL_S)
        return Grant(model=want.model, sequence=want.sequence, retry_s=retry_s)

    def lose(self, holder: str, now: float) -> None:
        """The holder is gone, and its probes with it: others may try."""
        for probe, (model, prober) in list(self._probers.items()):
            if prober == holder:
                del self._probers[probe]
                if model in self._breakers:
                    self._breakers[model].probed(probe, Code.IGNORED, now)

    def learn(self, known: Iterable[KnownBreaker], now: float) -> bool:
        """What a holder knows and a guard without memory does not; whether a state changed."""
        changed = False
        for told in known:
            if told.state is not State.CLOSED and told.model not in self._breakers:
                self._breakers[told.model] = breaker = Breaker(self.rule)
                breaker.reopen(told.failures, told.wait_s, now)
                changed = True
        return changed

    def all(self, now: float) -> tuple[KnownBreaker, ...]:
        """Every breaker that is not as a new one, by model."""
        return tuple(
            KnownBreaker(model, breaker.state, breaker.failures, breaker.wait_s(now))
            for model, breaker in sorted(self._breakers.items())
        )

    def open(self, now: float) -> tuple[KnownBreaker, ...]:
        """Those that are not closed."""
        return tuple(known for known in self.all(now) if known.state is not State.CLOSED)
