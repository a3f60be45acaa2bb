"""What a replica sees of guard, metering and cache, played by plain objects."""

from collections.abc import Awaitable, Callable

from opentelemetry.trace import INVALID_SPAN, Span

from headrace.cache.client import Found
from headrace.guard.client import Outcome, Permit, Unlimited
from headrace.metering.client import Cost, Unmetered, UsageEvent
from headrace.runtime.errors import HeadraceError


class SetClock:
    """A clock that stands where it was set."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        """The set time."""
        return self.now

    def time_ns(self) -> int:
        """The set time, as if it began in 1970."""
        return int(self.now * 1e9)


class Recorder(Unmetered):
    """A usage log that keeps what it is told. `room` bounds it; `price` is what each request costs."""

    def __init__(self, room: int = 1000, price: int | None = None) -> None:
        self.events: list[UsageEvent] = []
        self.reserved = 0
        self._room = room
        self._price = price

    def reserve(self, *, spare: bool = False) -> bool:
        """Whether there is room beside what is kept; there always is spare room."""
        if not spare and self.reserved + len(self.events) >= self._room:
            return False
        self.reserved += 1
        return True

    def cancel(self) -> None:
        """One reservation less."""
        self.reserved -= 1

    def record(self, event: UsageEvent) -> Cost | None:
        """Keeps the event."""
        self.reserved -= 1
        self.events.append(event)
        return None if self._price is None else Cost(self._price, 0, 0, 0, "USD")


class Shelf:
    """Answers by key. `shared`: each was worked out by somebody else's request."""

    def __init__(self, *, shared: bool = False) -> None:
        self._shared = shared
        self.near_answers: dict[bytes, bytes] = {}
        self.answers: dict[bytes, bytes] = {}
        self.asked: list[bytes] = []
        self.under_way: set[bytes] = set()

    def flying(self, key: bytes) -> bool:
        """Whether it was put into `under_way`."""
        return key in self.under_way

    def near(self, key: bytes) -> bytes | None:
        """What was put into `near_answers`."""
        return self.near_answers.get(key)

    async def find(
        self,
        key: bytes,
        tenant: str,  # as in the Protocol
        model: str,
        compute: Callable[[], Awaitable[tuple[bytes, object]]],
        *,
        deadline: float | None = None,
        span: Span = INVALID_SPAN,
        ask: bool = True,
    ) -> Found:
        """From `answers` where it is to ask, else computed and put there."""
        if ask:
            self.asked.append(key)
        if ask and key in self.answers:
            return Found(self.answers[key], "memory")
        value, made = await compute()
        self.answers[key] = value
        return Found(value, "miss", coalesced=True) if self._shared else Found(value, "miss", made=made)


class Doorkeeper(Unlimited):
    """Admits, and keeps how each request ended. `refusal` is raised in place of admitting; `asks` has it asked."""

    def __init__(self, *, refusal: HeadraceError | None = None, asks: bool = False) -> None:
        super().__init__()
        self.endings: list[Outcome] = []
        self.asked = 0
        self._refusal = refusal
        self._asks = asks

    def admit(self, tenant: str, model: str) -> Permit | None:
        """A permit, or None for one that has to be asked."""
        if self._refusal:
            raise self._refusal
        return None if self._asks else super().admit(tenant, model)

    async def ask(self, tenant: str, model: str, deadline: float | None) -> Permit:
        """A permit."""
        self.asked += 1
        return await super().ask(tenant, model, deadline)

    def release(self, permit: Permit, code: Outcome, latency_s: float) -> None:
        """Keeps the ending."""
        super().release(permit, code, latency_s)
        self.endings.append(code)
