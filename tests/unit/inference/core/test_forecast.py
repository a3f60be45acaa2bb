"""How long requests really wait, against what was predicted."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.core.forecast import LEAST, MOST, Forecast


def test_waits_twice_as_long_as_predicted_are_predicted_so() -> None:
    """After some batches; and forgotten as quickly."""
    forecast = Forecast()
    for _ in range(50):
        forecast.served(0.1, 0.2)
    assert 1.95 < forecast.factor < 2.05
    for _ in range(50):
        forecast.served(0.1, 0.1)
    assert 0.95 < forecast.factor < 1.05


def test_who_was_not_asked_about_teaches_nothing() -> None:
    """A request that was let in without a prediction, or whose wait was predicted to be next to nothing."""
    forecast = Forecast()
    forecast.served(0.0, 5.0)
    forecast.missed(0.0, 5.0)
    forecast.served(0.0009, 5.0)
    assert forecast.factor == 1.0


def test_a_turn_that_did_not_come_says_at_least_so_long() -> None:
    """Who gave up after less than was predicted says nothing."""
    forecast = Forecast()
    forecast.missed(0.1, 0.05)
    assert forecast.factor == 1.0
    forecast.missed(0.1, 0.3)
    assert forecast.factor > 1.0


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6))))
def test_one_stall_refuses_nobody_for_long(waits: list[tuple[float, float]]) -> None:
    """Whatever is measured, the factor stays within its bounds."""
    forecast = Forecast()
    for predicted, waited in waits:
        forecast.served(predicted, waited)
        assert LEAST <= forecast.factor <= MOST
