"""When a model has stalled."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.core.runs import Runs


def test_a_model_stalls_when_every_instance_hangs() -> None:
    """One of two leaves it serving; when one comes back it serves again."""
    runs = Runs(2, 1.5)
    runs.begin("a", 0.0)
    runs.begin("b", 0.5)
    assert not runs.stalled(1.9)
    assert runs.stalled(2.1)
    runs.end("a")
    assert not runs.stalled(10.0)
    runs.begin("a", 9.0)
    assert not runs.stalled(10.0)
    assert runs.stalled(10.6)


def test_no_bound_is_never() -> None:
    """For a model whose runs take as long as they take."""
    runs = Runs(1, 0.0)
    runs.begin("a", 0.0)
    assert not runs.stalled(1e9)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.floats(0.0, 5.0)), max_size=40))
def test_against_the_definition(steps: list[tuple[int, bool, float]]) -> None:
    """Whatever order runs begin and end in: stalled is all instances longer than the bound in one run."""
    runs, begun, now = Runs(3, 1.5), dict[int, float](), 0.0
    for instance, begins, later in steps:
        now += later
        if begins:
            runs.begin(instance, now)
            begun[instance] = now
        else:
            runs.end(instance)
            begun.pop(instance, None)
        assert runs.stalled(now) == (sum(now - then > 1.5 for then in begun.values()) >= 3)
