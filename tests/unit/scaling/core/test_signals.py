"""Reports become signals: smoothed, aged, put together."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.scaling.core.signals import Signal, Signals, View

VALUES = st.floats(0.0, 1e6)


def told(series: dict[str, list[float]], signal: Signal = Signal.CPU, stale_s: float = 10.0) -> View:
    """The view of a pool whose replicas reported this, a second apart, until now."""
    signals = Signals(3.0, stale_s)
    longest = max(map(len, series.values()))
    for name, values in series.items():
        for second, value in enumerate(values, start=longest - len(values)):
            signals.report(name, {signal: value}, float(second))
    return signals.view(list(series), float(longest - 1))


@given(
    usual=st.lists(st.floats(0.0, 10.0), min_size=8, max_size=30),
    outlier=st.floats(0.0, 1e9),
    at=st.integers(0, 29),
)
def test_one_report_out_of_line_changes_nothing(usual: list[float], outlier: float, at: int) -> None:
    """However far out it is: what the others say bounds the signal."""
    noisy = list(usual)
    noisy[at % len(usual)] = outlier
    value = told({"a": noisy}).values[Signal.CPU]
    assert min(usual) - 1e-9 <= value <= max(usual) + 1e-9


def test_a_change_that_lasts_gets_through() -> None:
    """Smoothed, not ignored: after five time constants it is there."""
    assert told({"a": [0.1] * 5 + [0.9] * 15}).values[Signal.CPU] == pytest.approx(0.9, abs=0.02)


def test_the_smoothing_goes_by_time_not_by_reports() -> None:
    """Twice as many reports in the same time make no quicker change."""
    few, many = Signals(3.0, 10.0), Signals(3.0, 10.0)
    for step in range(41):
        value = 0.0 if step < 20 else 1.0
        many.report("a", {Signal.CPU: value}, step / 4)
        if step % 2 == 0:
            few.report("a", {Signal.CPU: value}, step / 4)
    both = [signals.view(["a"], 10.0).values[Signal.CPU] for signals in (few, many)]
    assert both[0] == pytest.approx(both[1], abs=0.06)


@pytest.mark.parametrize(
    ("signal", "pool"),
    [
        (Signal.CPU, 0.5),
        (Signal.GPU, 0.5),
        (Signal.QUEUE, 0.5),
        (Signal.MEMORY, 0.8),
        (Signal.RESPONSE_TIME, 0.8),
        (Signal.REQUEST_RATE, 1.0),
    ],
)
def test_replicas_make_one_pool(signal: Signal, pool: float) -> None:
    """Means of what each has for itself, the largest of what they share or what somebody waits for, the sum of rates."""
    assert told({"a": [0.2] * 3, "b": [0.8] * 3}, signal).values[signal] == pytest.approx(pool)


def test_a_replica_counts_after_three_reports() -> None:
    """Until then it is silent: nobody decides by one sample."""
    early = told({"a": [0.9, 0.9], "b": [0.1] * 3})
    assert early.silent == ("a",)
    assert early.values[Signal.CPU] == 0.1


def test_a_replica_that_tells_no_more_is_silent_and_its_signals_stale() -> None:
    """What it said is not used any longer, and not forgotten: that it once had the signal blocks scaling down."""
    signals = Signals(1.0, 5.0)
    for second in range(3):
        signals.report("a", {Signal.CPU: 0.1}, float(second))
        signals.report("b", {Signal.CPU: 0.3}, float(second))
    signals.report("b", {Signal.CPU: 0.3}, 7.0)
    view = signals.view(["a", "b"], 7.5)
    assert view.values[Signal.CPU] == pytest.approx(0.3)
    assert (view.stale, view.silent) == (frozenset({Signal.CPU}), ("a",))


def test_a_signal_that_fell_silent_is_stale_beside_fresh_ones() -> None:
    """A GPU that reports no more is one that the machine has."""
    signals = Signals(1.0, 5.0)
    for second in range(20):
        gpu = {Signal.GPU: 0.1} if second < 5 else {}
        signals.report("a", {Signal.CPU: 0.1, **gpu}, float(second))
    view = signals.view(["a"], 19.0)
    assert (view.stale, view.silent) == (frozenset({Signal.GPU}), ())
    assert Signal.GPU not in view.values


def test_what_was_never_reported_is_neither_there_nor_stale() -> None:
    """A machine without a GPU has no such signal."""
    view = told({"a": [0.1] * 3})
    assert Signal.GPU not in view.values
    assert view.stale == frozenset()


def test_who_left_is_forgotten() -> None:
    """A replica that comes back under its name begins anew."""
    signals = Signals(1.0, 50.0)
    for second in range(3):
        signals.report("a", {Signal.CPU: 0.1}, float(second))
    signals.view([], 3.0)
    signals.report("a", {Signal.CPU: 0.1}, 4.0)
    assert signals.view(["a"], 4.0).silent == ("a",)


@given(st.lists(st.one_of(VALUES, st.sampled_from([math.nan, math.inf, -math.inf])), max_size=20))
def test_what_is_no_number_is_not_said(values: list[float]) -> None:
    """A report with a NaN never makes a signal of it."""
    signals = Signals(1.0, 100.0)
    for second, value in enumerate(values):
        signals.report("a", {Signal.QUEUE: value}, float(second))
    assert all(map(math.isfinite, signals.view(["a"], float(len(values))).values.values()))
