"""What the lease stream carries, in our own types; `wire.py` has their form on the wire.

The contract (lease.proto) says what each field means. Durations are seconds;
a tenant's Want has no model and a probe's no tenant.
"""

from dataclasses import dataclass, field

from headrace.guard.core.breaker import State
from headrace.guard.core.limits import Code, LimitBook, Limits, Mode


@dataclass(frozen=True, slots=True)
class KnownBreaker:
    """A breaker as one process tells it to another."""

    model: str
    state: State
    failures: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What a holder has of one tenant's limits."""

    tenant: str
    tokens: int
    slots: int
    used: int
    deficit: float


@dataclass(frozen=True, slots=True)
class Hello:
    """Who opens a stream, and what it has."""

    holder: str
    incarnation: str
    outstanding: tuple[Outstanding, ...] = ()
    breakers: tuple[KnownBreaker, ...] = ()
    watch_only: bool = False


@dataclass(frozen=True, slots=True)
class Want:
    """What is wanted of a tenant, or the probe of a model."""

    sequence: int
    tenant: str = ""
    model: str = ""
    tokens: int = 0
    slots: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Settle:
    """What was used of a tenant's limits, and what is given back."""

    tenant: str
    used: int
    tokens: int = 0
    slots: int = 0
    done: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How consecutive requests to a model ended."""

    model: str
    code: Code
    count: int
    latency_s: float
    probe: int = 0


@dataclass(slots=True)
class HolderFrame:
    """A frame of a holder."""

    hello: Hello | None = None
    wants: list[Want] = field(default_factory=list)
    settles: list[Settle] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Grant:
    """What is granted. Without a mode it is a denial: callers want more than that."""

    tenant: str = ""
    model: str = ""
    tokens: int = 0
    slots: int = 0
    mode: Mode | None = None
    retry_s: float = 0.0
    limits: Limits | None = None
    sequence: int = 0
    probe: int = 0


@dataclass(frozen=True, slots=True)
class Revoke:
    """Slots that are asked back: of the idle ones at once, and of the busy ones as requests end."""

    tenant: str
    slots: int
    busy: int = 0


@dataclass(slots=True)
class Snapshot:
    """What holds for all; None where nothing has changed."""

    incarnation: str | None = None
    ttl_s: float | None = None
    holders: int | None = None
    limits: LimitBook | None = None
    breakers: tuple[KnownBreaker, ...] | None = None
    revoked: tuple[str, ...] | None = None


@dataclass(slots=True)
class GuardFrame:
    """A frame of the guard."""

    grants: list[Grant] = field(default_factory=list)
    revokes: list[Revoke] = field(default_factory=list)
    snapshot: Snapshot | None = None
