"""Which events of a batch are new: each is stored once, in sequence."""

from typing import NamedTuple


class Placement(NamedTuple):
    """What to do with a batch: leave `skip` events out, count `lost` ones before it; not `stored`: nothing."""

    stored: bool
    skip: int
    lost: int


def placed(watermark: int, first: int, oldest: int, count: int) -> Placement:
    """Where a batch of `count` events from `first` on belongs, when all up to `watermark` are stored.

    A batch that would leave a gap waits for its turn, unless its source has no
    older events than `oldest`: then the gap stays for ever.
    """
    following = watermark + 1
    if first > following and oldest < first:
        return Placement(stored=False, skip=count, lost=0)
    skip = min(max(0, following - first), count)
    return Placement(stored=skip < count, skip=skip, lost=max(0, first - following))
