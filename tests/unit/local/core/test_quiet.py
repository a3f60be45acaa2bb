"""When a gateway that takes no new connections may go."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.local.core.quiet import Activity, Quiet

FOR_S = 0.5


def test_nobody_is_connected() -> None:
    """At once."""
    assert Quiet(FOR_S).over(Activity(0, 0, 7), 100.0)


def test_silent_connections() -> None:
    """After half a second without a request; not before."""
    quiet = Quiet(FOR_S)
    assert not quiet.over(Activity(2, 0, 7), 100.0)
    assert not quiet.over(Activity(2, 0, 7), 100.4)
    assert quiet.over(Activity(2, 0, 7), 100.5)


def test_a_request_between_two_looks() -> None:
    """A request that came and was answered between two looks counts: the connection is not silent."""
    quiet = Quiet(FOR_S)
    assert not quiet.over(Activity(2, 0, 7), 100.0)
    assert not quiet.over(Activity(2, 0, 8), 100.5)
    assert quiet.over(Activity(2, 0, 8), 101.0)


def test_a_request_under_way() -> None:
    """However long it takes."""
    quiet = Quiet(FOR_S)
    assert not any(quiet.over(Activity(1, 1, 7), 100.0 + second) for second in range(60))
    assert not quiet.over(Activity(1, 0, 7), 159.2)


LOOKS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 3), st.floats(0.01, 1.0)))


@given(LOOKS)
def test_it_never_goes_under_a_request(looks: list[tuple[int, int, int, float]]) -> None:
    """Over is said only where connections were silent at every look of the last half second."""
    quiet, now, total, busy = Quiet(FOR_S), 0.0, 0, 0.0
    for connections, requests, more, pause in looks:
        now += pause
        total += more
        if requests or more or now == pause:
            busy = now
        if quiet.over(Activity(connections, requests, total), now):
            assert now - busy >= FOR_S
