"""Breakers as one holder knows them: the guard's, and its own for when there is no guard."""

from collections.abc import Sequence

from headrace.guard.core.breaker import Breaker, State
from headrace.guard.core.frames import KnownBreaker
from headrace.guard.core.limits import BreakerRule, Code

OWN_PROBE_S = 30.0


class KnownBreakers:
    """Which models are left alone, until when, and who may probe them.

    `blocked` maps each model whose breaker is not closed to the time from which
    a probe may be asked for. It is nearly always empty, and the only thing that
    the hot path looks at. `own` counts this process's failures in a row.
    """

    __slots__ = ("_probes", "_rule", "blocked", "own")

    def __init__(self, rule: BreakerRule) -> None:
        self._rule = rule
        self.own: dict[str, Breaker] = {}
        self._probes = 0
        self.blocked: dict[str, float] = {}

    def obey(self, rule: BreakerRule) -> None:
        """The guard's rule, for what this process decides by itself later."""
        self._rule = rule

    def told(self, breakers: Sequence[KnownBreaker], now: float) -> None:
        """The guard's list: all that are not closed."""
        self.blocked.clear()  # not replaced: the hot path keeps it
        self.blocked.update({known.model: now + known.wait_s for known in breakers})
        for model in list(self.own):
            if self.own[model].state is not State.CLOSED:
                del self.own[model]

    def postpone(self, model: str, wait_s: float, now: float) -> None:
        """The guard let nobody probe: no use in asking again earlier."""
        self.blocked[model] = now + wait_s

    def part(self, now: float) -> None:
        """The guard is lost: goes on by itself from what was known."""
        for model, until in self.blocked.items():
            self._of(model).reopen(self._rule.failures, max(0.0, until - now), now)

    def known(self, now: float) -> tuple[KnownBreaker, ...]:
        """What a guard that was restarted has to be told."""
        return tuple(
            KnownBreaker(model, State.OPEN, self._rule.failures, max(0.0, until - now))
            for model, until in self.blocked.items()
        )

    def succeeded(self, model: str) -> None:
        """Ends a row of failures."""
        own = self.own.get(model)
        if own is not None and own.state is State.CLOSED:
            del self.own[model]

    def failed(self, model: str, now: float, *, alone: bool) -> None:
        """Counts a failure; without a guard the last of a row blocks the model."""
        own = self._of(model)
        own.record(Code.FAILURE, 1, now)
        if alone:
            self._block(model, own, now)

    def probe_alone(self, model: str, now: float) -> int:
        """The number of the probe, negative as all of this process's own; 0 when none may pass."""
        own = self._of(model)
        self._probes -= 1
        if own.probe(self._probes, now, OWN_PROBE_S):
            return self._probes
        self.blocked[model] = now + max(own.wait_s(now), min(1.0, own.probe_wait_s(now)))
        return 0

    def probed_alone(self, model: str, probe: int, code: Code, now: float) -> None:
        """A probe of this process's own ended."""
        own = self._of(model)
        own.probed(probe, code, now)
        self._block(model, own, now)

    def _of(self, model: str) -> Breaker:
        own = self.own.get(model)
        if own is None:
            own = self.own[model] = Breaker(self._rule)
        return own

    def _block(self, model: str, own: Breaker, now: float) -> None:
        if own.state is State.CLOSED:
            self.blocked.pop(model, None)
            if own.idle:
                self.own.pop(model, None)
        else:
            self.blocked[model] = now + own.wait_s(now)
