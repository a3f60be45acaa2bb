"""Everything that one process holds of the guard's: what frames say, and what the next frame has to say.

Decides; sends nothing, and waits for nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from headrace.guard.core.frames import (
    Grant,
    GuardFrame,
    Hello,
    HolderFrame,
    Settle,
    Snapshot,
    Want,
)
from headrace.guard.core.holding import Holding
from headrace.guard.core.known import KnownBreakers
from headrace.guard.core.limits import Code, LimitBook, Mode
from headrace.guard.core.outcomes import Outcomes
from headrace.guard.core.permit import Waiter
from headrace.guard.errors import breaker_open

DEFAULT_TTL_S = 1.0
PROBE_RETRY_S = 1.0


@dataclass(slots=True)
class Tally:
    """What happened since the process began."""

    admitted: int = 0
    refused: int = 0
    asked: int = 0
    lost: int = 0


class LeaseBook:
    """The holder's tenants and breakers.

    `alone`: there is no guard now, so requests are admitted by this process's
    own share: the limits over `holders`, as many as the guard told last.
    `holdings` and `breakers.blocked` are what the hot path reads.
    """

    def __init__(self, limits: LimitBook) -> None:
        self.alone = True
        self.holders = 1
        self.ttl_s = DEFAULT_TTL_S
        self.holdings: dict[str, Holding] = {}
        self.breakers = KnownBreakers(limits.breaker)
        self.outcomes = Outcomes()
        self.tally = Tally()
        self.wake: Callable[[], object] = _nobody
        """Called when there is something to send."""
        self._heard = -math.inf
        self._limits = limits
        self._asking: dict[str, Holding] = {}
        self._changed: dict[str, Holding] = {}
        self._done: list[Settle] = []
        self._probers: dict[str, list[Waiter]] = {}
        self._probes_asked: dict[str, bool] = {}
        self._sequence = 0

    def holding(self, tenant: str, now: float) -> Holding:
        """The tenant's; a tenant that is new here has the limits that the guard told at last."""
        found = self.holdings.get(tenant)
        if found is None:
            found = self.holdings[tenant] = Holding(tenant, self._limits.of(tenant), self.holders, now)
        return found

    def ask_for(self, holding: Holding) -> None:
        """The next frame asks for what the tenant needs, unless an answer is under way."""
        if not holding.asking and not self.alone:
            self._asking[holding.tenant] = holding
            self.wake()

    def note(self, holding: Holding) -> None:
        """The next frame tells what the tenant gives back."""
        self._changed[holding.tenant] = holding
        self.wake()

    def ended(self, model: str, code: Code, latency_s: float, probe: int, now: float) -> None:
        """A request has ended in a way that is worth a thought: it failed, was a probe, or ends a row of failures."""
        if probe < 0:
            self.breakers.probed_alone(model, probe, code, now)
            return
        if code is Code.FAILURE:
            self.breakers.failed(model, now, alone=self.alone)
        elif code is Code.SUCCESS:
            self.breakers.succeeded(model)
        if code is not Code.IGNORED or probe:
            self.outcomes.ended(model, code, latency_s, probe)
            self.wake()

    def ask_probe(self, model: str, waiter: Waiter, now: float) -> None:
        """The next frame asks whether the waiter may be the model's probe; alone, it is decided here."""
        self._probers.setdefault(model, []).append(waiter)
        if self.alone:
            self._probe_alone(model, now)
        elif model not in self._probes_asked:
            self._probes_asked[model] = False
            self.wake()

    # Frames of the guard

    def take(self, frame: GuardFrame, now: float) -> None:
        """Does what the guard says. It is there, so nobody is alone any more."""
        if frame.snapshot is not None:
            self._learn(frame.snapshot, now)
        self._heard = now
        if self.alone:
            self._rejoin()
        for grant in frame.grants:
            if grant.model:
                self._take_probe(grant, now)
            else:
                self._take(grant, now)
        for revoke in frame.revokes:
            holding = self.holdings.get(revoke.tenant)
            if holding is not None:
                holding.owe(revoke)
                self.note(holding)

    def lose(self, now: float) -> None:
        """The guard is lost, or does not answer: decides for those who wait, and from now on alone."""
        if not self.alone:
            self.alone = True
            self.tally.lost += 1
            self.breakers.part(now)
        for holding in self.holdings.values():
            holding.asking = 0
            holding.serve_alone(now, self.holders)
        self._asking.clear()
        self._probes_asked.clear()
        for model in list(self._probers):
            self._probe_alone(model, now)

    # Frames of ours

    def hello(self, holder: str, incarnation: str, now: float) -> HolderFrame:
        """The first frame of a stream."""
        self._changed.clear()
        self._done = []
        outstanding = tuple(holding.outstanding(now) for holding in self.holdings.values())
        return HolderFrame(Hello(holder, incarnation, outstanding, self.breakers.known(now)))

    def outgoing(self) -> HolderFrame | None:
        """What has to be told now; None when there is nothing."""
        frame = HolderFrame(outcomes=self.outcomes.taken(), settles=self._done)
        self._done = []
        for holding in self._changed.values():
            if (report := holding.settle()) is not None:
                frame.settles.append(report)
        self._changed = {}
        for holding in self._asking.values():
            if (report := holding.settle()) is not None:
                frame.settles.append(report)
            frame.wants.append(holding.want(self._next()))
        self.tally.asked += bool(self._asking)
        self._asking = {}
        for model, asked in self._probes_asked.items():
            if not asked:
                self._probes_asked[model] = True
                frame.wants.append(Want(self._next(), model=model))
        return frame if frame.settles or frame.wants or frame.outcomes else None

    def tick(self, now: float) -> None:
        """Once in a while: what is reported, wanted, given back and forgotten."""
        expired = self.alone and now >= self._heard + self.ttl_s
        for tenant, holding in list(self.holdings.items()):
            self.tally.refused += holding.refusals
            more = holding.tick(now)
            self.tally.admitted += holding.ticked
            if expired:
                holding.expire()
            if holding.idle(now):
                self._forget(holding)
            elif self.alone:
                holding.serve_alone(now, self.holders)
            else:
                self._changed[tenant] = holding
                if more or (holding.waiters and not holding.asking):
                    self._asking[tenant] = holding
        if self.holdings:
            self.wake()

    def close(self) -> None:
        """Gives everything back."""
        for holding in list(self.holdings.values()):
            self._forget(holding)
        self.wake()

    # Within

    def _learn(self, snapshot: Snapshot, now: float) -> None:
        self.ttl_s = snapshot.ttl_s or self.ttl_s
        if snapshot.limits is not None:
            self._limits = snapshot.limits
            self.breakers.obey(snapshot.limits.breaker)
        if snapshot.breakers is not None:
            self.breakers.told(snapshot.breakers, now)
        if snapshot.holders is not None and snapshot.holders != self.holders:
            self.holders = snapshot.holders
            for holding in self.holdings.values():
                holding.shared_by(self.holders, now)

    def _rejoin(self) -> None:
        self.alone = False
        for holding in self.holdings.values():
            if holding.waiters:
                self.ask_for(holding)

    def _take(self, grant: Grant, now: float) -> None:
        # A tenant forgotten meanwhile gets it all the same, to give it back.
        holding = self.holding(grant.tenant, now)
        limits = holding.limits
        holding.take(grant, now)
        if holding.limits != limits:
            holding.shared_by(self.holders, now)
        if holding.waiters and not holding.asking and holding.unheard:
            self.ask_for(holding)
        if holding.mode is Mode.SYNC:
            self.note(holding)

    def _take_probe(self, grant: Grant, now: float) -> None:
        model = grant.model
        self._probes_asked.pop(model, None)
        if not grant.probe:
            self.breakers.postpone(model, grant.retry_s, now)
        self._decide_probe(model, grant.probe, grant.retry_s)

    def _probe_alone(self, model: str, now: float) -> None:
        probe = self.breakers.probe_alone(model, now)
        self._decide_probe(model, probe, self.breakers.blocked.get(model, now) - now)

    def _decide_probe(self, model: str, probe: int, retry_s: float) -> None:
        """The first who waits is the probe; for all others the model is left alone."""
        for waiter in self._probers.pop(model, []):
            waiter.admitted = probe != 0
            waiter.probe, probe = probe, 0
            if not waiter.admitted:
                waiter.refused = breaker_open(model, retry_s or PROBE_RETRY_S)
            waiter.wake()

    def _forget(self, holding: Holding) -> None:
        holding.close()
        report = holding.settle(done=not holding.in_flight)
        if report is not None:
            self._done.append(report)
        if not holding.in_flight:
            self.holdings.pop(holding.tenant, None)
            self._changed.pop(holding.tenant, None)
            self._asking.pop(holding.tenant, None)

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence


def _nobody() -> None:
    """Nothing is sent before there is a stream."""
