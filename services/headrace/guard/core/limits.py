"""What tenants may do, and how breakers work: the rules, not their state."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Mode(Enum):
    """How a tenant's requests are admitted."""

    LEASED = 1
    SYNC = 2


class Code(Enum):
    """How an admitted request ended.

    FAILURE: the model failed, or the deadline passed while it executed.
    IGNORED: it says nothing about the model (a caller's mistake, a cancellation, a full queue).
    """

    SUCCESS = 1
    FAILURE = 2
    IGNORED = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """What one tenant may do over all replicas.

    `rate` is requests per second, `burst` how many at once, `concurrency` how
    many in flight, `wait_s` how long a request may wait for the rate.
    """

    rate: float = 1000.0
    burst: int = 1000
    concurrency: int = 100
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """Failures in a row that open a breaker, and how long it then stays open."""

    failures: int = 5
    open_s: float = 60.0


@dataclass(frozen=True, slots=True)
class LimitBook:
    """The limits of every tenant."""

    default: Limits = Limits()
    tenants: Mapping[str, Limits] = field(default_factory=dict)
    breaker: BreakerRule = BreakerRule()

    def of(self, tenant: str) -> Limits:
        """The tenant's own limits, or the defaults."""
        return self.tenants.get(tenant, self.default)


def mode_of(limits: Limits, holders: int, ttl_s: float) -> Mode:
    """SYNC where a holder's share of the limit would be too small to be leased.

    Below 20 requests for each holder and time to live, what idles at one holder
    would be refused at another.
    """
    least = min(limits.rate * ttl_s, limits.burst, limits.concurrency)
    return Mode.SYNC if least < SYNC_BELOW * max(1, holders) else Mode.LEASED


SYNC_BELOW = 20

DEFAULT_BOOK = LimitBook()
"""The specification's."""
