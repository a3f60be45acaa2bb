"""The running guard: the sessions of holders, and the timers that the cores don't have."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace

import structlog

from headrace.guard.core.breakers import Breakers
from headrace.guard.core.frames import GuardFrame, HolderFrame, KnownBreaker, Snapshot
from headrace.guard.core.leases import Leases
from headrace.guard.core.limits import LimitBook, Limits
from headrace.guard.errors import holder_replaced, stream_invalid
from headrace.guard.metrics import GuardMetrics
from headrace.runtime.clock import Clock
from headrace.runtime.errors import HeadraceError

BEATS = 4
"""Frames in a time to live, when there is nothing else to say."""
ROUND_S = 0.01
MOST_NAME_CHARACTERS = 256

log = structlog.get_logger()


class Session:
    """One lease stream at the guard's end. An empty `holder` only watches."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        self._frame: GuardFrame | None = None
        self._changed = asyncio.Event()
        self._end: HeadraceError | None = None
        self._ended = False

    def add(self, frame: GuardFrame) -> None:
        """What the next frame says besides what it says already. Snapshots supersede each other."""
        waiting = self._frame
        if waiting is None:
            self._frame = frame
        else:
            waiting.grants += frame.grants
            waiting.revokes += frame.revokes
            waiting.snapshot = _merged(waiting.snapshot, frame.snapshot)
        self._changed.set()

    def end(self, why: HeadraceError | None = None) -> None:
        """Ends the stream, with an error if there is one; the first end counts."""
        if not self._ended:
            self._ended, self._end = True, why
        self._changed.set()

    async def next(self) -> GuardFrame | None:
        """The next frame, None at the end; raises what the stream ended with."""
        await self._changed.wait()
        self._changed.clear()
        frame, self._frame = self._frame, None
        if self._ended:
            if self._end is not None:
                raise self._end
            return None
        return frame or GuardFrame()


class Guard:
    """Limits, breakers and revocations, and everybody who has to be told."""

    def __init__(
        self,
        leases: Leases,
        breakers: Breakers,
        clock: Clock,
        metrics: GuardMetrics,
        *,
        incarnation: str,
        holders_changed: Callable[[Iterable[str]], object],
    ) -> None:
        self._leases = leases
        self._breakers = breakers
        self._clock = clock
        self._metrics = metrics
        self._incarnation = incarnation
        self._holders_changed = holders_changed
        self._revoked: tuple[str, ...] = ()
        self._sessions: set[Session] = set()
        self._holders: dict[str, Session] = {}
        self._count = 0
        self._standing = asyncio.Event()

    # Sessions

    def open(self, first: HolderFrame) -> Session:
        """A stream begins; raises STREAM_INVALID."""
        hello, now = first.hello, self._clock.monotonic()
        if hello is None:
            raise stream_invalid("it does not begin with Hello")
        if not 1 <= len(hello.holder) <= MOST_NAME_CHARACTERS:
            raise stream_invalid(f"the holder's name must have 1 to {MOST_NAME_CHARACTERS} characters")
        session = Session("" if hello.watch_only else hello.holder)
        self._sessions.add(session)
        if session.holder:
            if (older := self._holders.get(session.holder)) is not None:
                older.end(holder_replaced(session.holder))
            self._holders[session.holder] = session
            self._leases.join(hello, now)
            if self._breakers.learn(hello.breakers, now):
                self._tell_breakers(now)
        session.add(GuardFrame(snapshot=self._snapshot(now)))
        self._count_holders()
        self.receive(session, HolderFrame(None, first.wants, first.settles, first.outcomes))
        return session

    async def hear(self, session: Session, frames: AsyncIterator[HolderFrame]) -> None:
        """Until the holder ends its stream, and with it the session; so does a frame that is not valid."""
        why: HeadraceError | None = None
        try:
            async for frame in frames:
                self.receive(session, frame)
        except HeadraceError as fault:
            why = fault
        finally:
            session.end(why)

    def receive(self, session: Session, frame: HolderFrame) -> None:
        """A frame of a holder: what it gives back first, then what it wants."""
        if frame.hello is not None:
            raise stream_invalid("Hello comes once")
        if self._holders.get(session.holder) is not session:
            return  # it watches, or was replaced: what it says does not count
        now = self._clock.monotonic()
        self._metrics.frames.inc()
        self._leases.settle(session.holder, frame.settles, now)
        if self._breakers.record(frame.outcomes, now):
            self._tell_breakers(now)
        self._leases.want(session.holder, [want for want in frame.wants if want.tenant], now)
        probes = [self._breakers.probe(session.holder, want, now) for want in frame.wants if want.model]
        if probes:
            session.add(GuardFrame(grants=probes))
        self._grant(now)

    def close(self, session: Session) -> None:
        """A stream has ended."""
        self._sessions.discard(session)
        if self._holders.get(session.holder) is session:
            del self._holders[session.holder]
            self._leases.leave(session.holder, self._clock.monotonic())
            self._count_holders()

    def end(self) -> None:
        """Ends all streams: the guard stops."""
        for session in self._sessions:
            session.end()

    # What is asked

    def limits(self) -> list[tuple[str, Limits, int, int, int]]:
        """Of each tenant that is active or has its own: limits, available requests, slots and holders."""
        now = self._clock.monotonic()
        rows = []
        for tenant in sorted({*self._leases.limits.tenants, *self._leases.tenants}):
            allotment = self._leases.tenants.get(tenant)
            limits = self._leases.limits.of(tenant)
            if allotment is None:
                rows.append((tenant, limits, limits.burst, 0, 0))
            else:
                rows.append(
                    (tenant, limits, allotment.available(now), allotment.slots, len(allotment.shares))
                )
        return rows

    @property
    def holders(self) -> frozenset[str]:
        """The names of those that share the limits."""
        return frozenset(self._leases.holders)

    @property
    def book(self) -> LimitBook:
        """The limits as they are set."""
        return self._leases.limits

    def breakers(self) -> tuple[KnownBreaker, ...]:
        """Of each model that failed of late."""
        return self._breakers.all(self._clock.monotonic())

    def revoke(self, token_ids: tuple[str, ...]) -> None:
        """All tokens that are revoked from now on."""
        self._revoked = token_ids
        self._metrics.revoked.set(len(token_ids))
        self._tell(Snapshot(revoked=token_ids))

    # Loops

    async def beat(self) -> None:
        """Renews leases and forgets those that are over; until cancelled."""
        while True:
            await asyncio.sleep(self._leases.ttl_s / BEATS)
            now = self._clock.monotonic()
            for holder in self._leases.expire(now):
                log.info("a holder is gone", holder=holder)
                self._breakers.lose(holder, now)
            self._count_holders()
            self._grant(now)
            self._metrics.tenants.set(len(self._leases.tenants))
            for session in self._sessions:
                session.add(GuardFrame())

    async def rounds(self) -> None:
        """Grants to those whose wants stand, as the rate allows; until cancelled."""
        while True:
            await self._standing.wait()
            await asyncio.sleep(ROUND_S)
            self._grant(self._clock.monotonic(), standing=True)

    # Within

    def _grant(self, now: float, *, standing: bool = False) -> None:
        for holder, frame in self._leases.rounds(now, standing=standing).items():
            for grant in frame.grants:
                self._metrics.granted.inc(grant.tokens)
                self._metrics.denied.inc(grant.mode is None)
            if holder in self._holders:
                self._holders[holder].add(frame)
        if self._leases.standing:
            self._standing.set()
        else:
            self._standing.clear()

    def _count_holders(self) -> None:
        """Tells everybody how many they are; the store too, for the guard after this one."""
        if self._leases.count != self._count:
            self._count = self._leases.count
            self._tell(Snapshot(holders=self._count))
        self._metrics.holders.set(len(self._leases.holders))
        self._holders_changed(self._leases.holders)

    def _tell_breakers(self, now: float) -> None:
        breakers = self._breakers.open(now)
        self._metrics.open_breakers.set(len(breakers))
        self._tell(Snapshot(breakers=breakers))

    def _tell(self, snapshot: Snapshot) -> None:
        for session in self._sessions:
            session.add(GuardFrame(snapshot=snapshot))

    def _snapshot(self, now: float) -> Snapshot:
        return Snapshot(
            self._incarnation,
            self._leases.ttl_s,
            self._leases.count,
            self._leases.limits,
            self._breakers.open(now),
            self._revoked,
        )


def _merged(older: Snapshot | None, newer: Snapshot | None) -> Snapshot | None:
    if older is None or newer is None:
        return newer or older
    news = {name: value for name in Snapshot.__slots__ if (value := getattr(newer, name)) is not None}
    return replace(older, **news)
