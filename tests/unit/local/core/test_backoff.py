"""How long a process that died waits."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.local.core.backoff import Backoff

failures = st.integers(0, 10_000)
draws = st.floats(0, 1, exclude_max=True)


def test_first_restart_is_soon() -> None:
    """The first restart of a replica leaves nearly all of the 2 s that a restart may take to its start."""
    assert Backoff().delay_s(1, 0.999) < 0.2


def test_doubles() -> None:
    """Each failure in a row doubles the wait."""
    backoff = Backoff(first_s=1, factor=2, most_s=100, jitter=0)
    assert [backoff.delay_s(n, 0.5) for n in range(5)] == [0, 1, 2, 4, 8]


@given(failures, draws)
def test_bounded(count: int, draw: float) -> None:
    """The wait is never negative, and never above the bound with its jitter."""
    backoff = Backoff()
    assert 0 <= backoff.delay_s(count, draw) <= backoff.most_s * (1 + backoff.jitter)


@given(failures, draws)
def test_never_shorter_after_more_failures(count: int, draw: float) -> None:
    """One more failure never shortens the wait, for the same draw."""
    assert Backoff().delay_s(count + 1, draw) >= Backoff().delay_s(count, draw)


@given(failures, draws, draws)
def test_jitter_only_adds(count: int, one: float, other: float) -> None:
    """The draw moves the wait by the jitter at the most."""
    backoff = Backoff()
    low, high = sorted((backoff.delay_s(count, one), backoff.delay_s(count, other)))
    assert high <= low * (1 + backoff.jitter) + 1e-9


@given(failures, st.floats(0, 1e6))
def test_a_run_that_lasted_forgives(count: int, ran_s: float) -> None:
    """Failures add up while runs are short; the end of a long run counts as the first."""
    backoff = Backoff()
    expected = 1 if ran_s >= backoff.stable_s else count + 1
    assert backoff.failures(count, ran_s) == expected
