"""Which events of a batch are new."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.metering.core.sequence import Placement, placed


@pytest.mark.parametrize(
    ("watermark", "first", "oldest", "expected"),
    [
        (0, 1, 1, Placement(stored=True, skip=0, lost=0)),
        (10, 11, 11, Placement(stored=True, skip=0, lost=0)),
        (10, 9, 9, Placement(stored=True, skip=2, lost=0)),
        (13, 11, 11, Placement(stored=False, skip=3, lost=0)),
        (20, 11, 11, Placement(stored=False, skip=3, lost=0)),
        # Its turn comes when what is between has come.
        (10, 12, 11, Placement(stored=False, skip=3, lost=0)),
        # Nothing will come in between.
        (10, 12, 12, Placement(stored=True, skip=0, lost=1)),
    ],
)
def test_a_batch_is_stored_where_it_belongs(
    watermark: int, first: int, oldest: int, expected: Placement
) -> None:
    """What is known is skipped, what is early waits, what can't come is counted."""
    assert placed(watermark, first, oldest, 3) == expected


@given(st.integers(0, 50), st.integers(1, 50), st.integers(1, 50), st.integers(1, 20))
def test_the_new_watermark_never_goes_back(watermark: int, first: int, oldest: int, count: int) -> None:
    """A stored batch ends after the watermark; what lies between is skipped, lost or stored."""
    place = placed(watermark, first, oldest, count)
    if place.stored:
        last = first + count - 1
        assert last > watermark
        assert watermark + place.lost + (count - place.skip) == last
