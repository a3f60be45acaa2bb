"""How one model's requests wait and are batched, as its configuration says."""

from dataclasses import dataclass
from enum import Enum


class TimeoutAction(Enum):
    """What becomes of a request that has waited as long as its level lets it.

    REJECT: it is refused. DELAY: it waits on, behind every request of its level
    and of higher ones that has not timed out.
    """

    REJECT = 0
    DELAY = 1


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """What one priority level takes: Triton's ModelQueuePolicy.

    `max_queue` requests wait, exactly. `timeout_s` is how long each may, 0: as
    long as its deadline lets it; with `allow_override` a request may say less.
    """

    max_queue: int = 4096
    timeout_s: float = 0.0
    action: TimeoutAction = TimeoutAction.REJECT
    allow_override: bool = False


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """When a batch closes, and what goes before what.

    `max_delay_s` is an upper bound, counted from the arrival of the batch's
    first request. An `eager` model's idle instance takes what is there at once;
    otherwise it waits for `max_batch_size` rows, the end of the delay, or the
    moment at which the earliest deadline would no longer hold. `preferred` sizes
    decide between sizes that cost the same a row.

    `levels` are the priorities, the highest first; without any there is one, of
    `max_queue` requests. A request whose priority is 0, or none of them, has
    `default_level` (from 1). Each `aging_s` of waiting lifts a level's oldest
    request by one level. `padding` is the largest share of a batch that may be
    padding. `ordered`: a tenant's answers leave in the order of its requests.
    """

    max_batch_size: int = 32
    max_delay_s: float = 0.1
    eager: bool = True
    max_queue: int = 4096
    preferred: tuple[int, ...] = ()
    levels: tuple[QueuePolicy, ...] = ()
    default_level: int = 1
    aging_s: float = 2.0
    padding: float = 0.15
    ordered: bool = False

    def queues(self) -> tuple[QueuePolicy, ...]:
        """The policy of each level, the highest first; never empty."""
        return self.levels or (QueuePolicy(self.max_queue),)

    def level_of(self, priority: int) -> int:
        """The level (from 1) of a request that asks for `priority`, as Triton takes it."""
        return priority if 0 < priority <= len(self.levels) else self.default_level
