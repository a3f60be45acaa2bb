"""A replica's load from readings of its counters."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.core.load import Load, LoadReadings, Reading

IDLE = Reading(at=0.0, cpu_s=0.0, answered=0, answered_s=0.0, failed=0, waiting=0, working=False, memory=0.25)


def load_of(*readings: Reading, span_s: float = 10.0, cores: float = 2.0) -> Load:
    """The load that the readings tell."""
    kept = LoadReadings(cores)
    for reading in readings:
        kept.add(reading)
    found = kept.load(span_s)
    assert found is not None
    return found


def test_one_reading_tells_nothing() -> None:
    """A rate needs two points: until then there is no load, not one of zero."""
    kept = LoadReadings(2.0)
    assert kept.load(1.0) is None
    kept.add(IDLE)
    assert kept.load(1.0) is None


def test_the_load_is_what_changed_over_the_span() -> None:
    """Shares of the cores, rates by the second, the mean wait for an answer, the mean of the queue."""
    after = Reading(
        at=2.0, cpu_s=3.0, answered=20, answered_s=10.0, failed=4, waiting=6, working=True, memory=0.5
    )
    middle = replace(after, at=1.0, waiting=2)
    assert load_of(IDLE, middle, after) == Load(
        cpu=0.75, memory=0.5, rate=12.0, errors=2.0, queue=4.0, response_s=0.5
    )


def test_only_the_span_counts() -> None:
    """What happened before it is not in the report; the two newest readings always are."""
    busy = replace(IDLE, at=1.0, cpu_s=2.0, answered=100, answered_s=100.0)
    later = replace(busy, at=2.0)
    assert load_of(IDLE, busy, later, span_s=1.0).cpu == 0.0
    assert load_of(IDLE, busy, later, span_s=0.001).rate == 0.0
    assert load_of(IDLE, busy, later, span_s=2.0).rate == 50.0


def test_nobody_who_asks_waits_zero_seconds() -> None:
    """Without requests there is nothing slow: 0 s, which lets an idle replica go."""
    assert load_of(IDLE, replace(IDLE, at=1.0)).response_s == 0.0


def test_who_waits_without_an_answer_is_not_taken_for_quick() -> None:
    """A replica that hangs answers nothing: its response time is the time since nobody waited."""
    hanging = [replace(IDLE, at=float(at), working=True, waiting=3, answered=7) for at in range(1, 6)]
    assert load_of(replace(IDLE, answered=7), *hanging, span_s=2.0).response_s == 5.0


@given(
    steps=st.lists(
        st.tuples(
            st.floats(0.01, 5.0), st.floats(0, 5), st.integers(0, 50), st.integers(0, 5), st.booleans()
        ),
        min_size=2,
        max_size=40,
    ),
    span=st.floats(0.05, 30.0),
)
def test_a_load_is_never_negative(steps: list[tuple[float, float, int, int, bool]], span: float) -> None:
    """Whatever is counted, in readings of any distance."""
    kept, now = LoadReadings(2.0), IDLE
    for seconds, cpu, answered, failed, working in steps:
        now = Reading(
            now.at + seconds,
            now.cpu_s + cpu,
            now.answered + answered,
            now.answered_s + answered * 0.1,
            now.failed + failed,
            3 if working else 0,
            working,
            0.5,
        )
        kept.add(now)
    found = kept.load(span)
    assert found is not None
    assert min(found.cpu, found.rate, found.errors, found.queue, found.response_s) >= 0.0
    assert found.rate >= found.errors
    assert found.response_s == pytest.approx(0.1) or found.response_s <= now.at
