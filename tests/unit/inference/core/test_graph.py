"""Graphs of steps: what is wrong with one, and that every step runs once, after all that gives it something."""

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.core.graph import MAX_STEPS, Flow, Graph, Step, chain, narrowed
from headrace.inference.core.tensors import Signature, TensorSpec

X, Y = TensorSpec("x", "FP32", (2,)), TensorSpec("y", "FP32", (2,))


def signature(
    inputs: tuple[TensorSpec, ...] = (X,), outputs: tuple[TensorSpec, ...] = (Y,), most: int = 8
) -> Signature:
    return Signature("whole", inputs, outputs, most)


def step(inputs: Mapping[str, str], outputs: Mapping[str, str], model: str = "m") -> Step:
    return Step(model, "", inputs, outputs)


def graph(*steps: Step, whole: Signature | None = None) -> Graph:
    return Graph(whole or signature(), steps)


@st.composite
def graphs(draw: st.DrawFn) -> list[set[int]]:
    """For each step those that follow it; a step is followed by later ones only, in a shuffled numbering."""
    count = draw(st.integers(1, 12))
    numbers = draw(st.permutations(range(count)))
    followers: list[set[int]] = [set() for _ in range(count)]
    for place in range(count):
        for later in range(place + 1, count):
            if draw(st.booleans()):
                followers[numbers[place]].add(numbers[later])
    return followers


@given(graphs(), st.randoms(use_true_random=False))
def test_each_step_runs_once_after_all_that_it_waits_for(followers: list[set[int]], random: object) -> None:
    """Whichever of those under way ends first."""
    flow, done = Flow(followers), list[int]()
    running = flow.begin()
    while running:
        ended = running.pop(random.randrange(len(running)))  # type: ignore[attr-defined]
        done.append(ended)
        running += flow.finished(ended)
    assert sorted(done) == list(range(len(followers)))
    for place, following in enumerate(followers):
        assert all(done.index(place) < done.index(later) for later in following)


@given(graphs())
def test_a_chain_is_a_graph_whose_steps_have_one_order(followers: list[set[int]]) -> None:
    """One begins, and each has one that follows it at once: then no two are ever under way."""
    order = chain(followers)
    if order:
        assert sorted(order) == list(range(len(followers)))
        assert all(after in followers[before] for before, after in pairwise(order))
    else:
        flow = Flow(followers)
        ready, wide = flow.begin(), False
        while ready:
            wide = wide or len(ready) > 1
            ready = [*ready[1:], *flow.finished(ready[0])]
        assert wide


def test_a_whole_graph_has_no_problem() -> None:
    """Two ways from the input that meet again."""
    diamond = graph(
        step({"x": "x"}, {"y": "a"}),
        step({"x": "x"}, {"y": "b"}),
        step({"l": "a", "r": "b"}, {"y": "y"}),
    )
    assert diamond.problems() == []
    assert diamond.followers() == [{2}, {2}, set()]


STEP = "ensemble_scheduling.step"


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([], f"{STEP}: expected 1 to {MAX_STEPS}, got 0"),
        ([step({"x": "x"}, {"y": "y"})] * (MAX_STEPS + 1), f"{STEP}: expected 1 to {MAX_STEPS}, got 65"),
        ([step({}, {"y": "y"})], f"{STEP}[0].input_map: expected at least one entry"),
        ([step({"x": "x"}, {})], f"{STEP}[0].output_map: expected at least one entry"),
        ([step({"x": "z"}, {"y": "y"})], f"{STEP}[0].input_map['x']: nothing gives 'z'"),
        ([step({"x": "x"}, {"y": "z"})], "output[0]: no step gives 'y'"),
        ([step({"a": "y"}, {"y": "y"})], "input[0]: no step takes 'x'"),
        ([step({"x": "x"}, {"y": "x"})], f"{STEP}[0].output_map['y']: 'x' is given by input already"),
        (
            [step({"x": "x"}, {"y": "y"}), step({"x": "x"}, {"q": "y"})],
            f"{STEP}[1].output_map['q']: 'y' is given by {STEP}[0].output_map['y'] already",
        ),
        (
            [step({"x": "x", "b": "b"}, {"y": "y"}), step({"x": "y"}, {"y": "b"})],
            f"{STEP}: [0, 1] wait for each other, in a circle",
        ),
        ([step({"x": "x", "y": "y"}, {"y": "y"})], f"{STEP}: [0] wait for each other, in a circle"),
    ],
)
def test_a_graph_that_is_not_whole_is_told_with_the_field(steps: list[Step], problem: str) -> None:
    """Whatever its models are."""
    assert problem in graph(*steps).problems()


def member(
    inputs: tuple[TensorSpec, ...] = (X,), outputs: tuple[TensorSpec, ...] = (Y,), most: int = 8
) -> Signature:
    return Signature("m", inputs, outputs, most)


ONE = graph(step({"x": "x"}, {"y": "y"}))
TWO = graph(step({"x": "x"}, {"y": "t"}), step({"x": "t"}, {"y": "y"}))


@pytest.mark.parametrize(
    ("whole", "members", "problem"),
    [
        (ONE, [member((TensorSpec("z", "FP32", (2,)),))], f"{STEP}[0].input_map['x']: model 'm' has ['z']"),
        (
            ONE,
            [member((X, TensorSpec("z", "FP32", (2,))))],
            f"{STEP}[0].input_map: nothing for input 'z' of model 'm'",
        ),
        (
            ONE,
            [member(outputs=(TensorSpec("z", "FP32", (2,)),))],
            f"{STEP}[0].output_map['y']: model 'm' has ['z']",
        ),
        (ONE, [member(most=4)], "max_batch_size: expected at most 4, which model 'm' has, got 8"),
        (
            ONE,
            [member((TensorSpec("x", "INT64", (2,)),))],
            f"{STEP}[0].input_map['x']: expected INT64, 'x' is FP32",
        ),
        (
            ONE,
            [member((TensorSpec("x", "FP32", (3,)),))],
            f"{STEP}[0].input_map['x']: expected shape [-1, 3], 'x' has [-1, 2]",
        ),
        (
            ONE,
            [member(outputs=(TensorSpec("y", "FP32", (2, 1)),))],
            "output[0]: expected shape [-1, 2], 'y' has [-1, 2, 1]",
        ),
        (
            TWO,
            [member(), member((TensorSpec("x", "BYTES", (2,)),))],
            f"{STEP}[1].input_map['x']: expected BYTES, 'y' is FP32",
        ),
        (
            graph(step({"x": "x"}, {"y": "y"}), whole=signature(most=0)),
            [member()],
            f"{STEP}[0].input_map['x']: expected shape [-1, 2], 'x' has [2]",
        ),
    ],
)
def test_models_that_do_not_fit_are_told_with_the_field(
    whole: Graph, members: list[Signature], problem: str
) -> None:
    """Names, types, shapes and batch sizes, of what gives and of what takes."""
    assert whole.problems() == []
    assert problem in whole.fit_problems(members)


def test_free_dimensions_fit_any_size() -> None:
    """They are looked at with each request; a graph without a batch of its own may give its model whole ones."""
    free = member((TensorSpec("x", "FP32", (-1,)),))
    assert ONE.fit_problems([free]) == []
    whole = signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (3, 2)),), most=0)
    assert graph(step({"x": "x"}, {"y": "y"}), whole=whole).fit_problems([member()]) == []


def test_an_input_is_within_the_bounds_of_all_that_take_it() -> None:
    """So that what one of them would refuse is refused before anything has run."""
    own = TensorSpec("x", "INT64", (-1,), longest=100)
    one = TensorSpec("a", "INT64", (-1,), longest=50, within=(0, 10))
    other = TensorSpec("b", "INT64", (-1,), within=(5, 20), finite=True)
    found = narrowed(own, [one, other])
    assert (found.name, found.longest, found.within, found.finite) == ("x", 50, (5, 10), True)
