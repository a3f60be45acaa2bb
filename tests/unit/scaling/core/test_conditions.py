"""A threshold has to be passed for a whole window."""

from headrace.scaling.core.conditions import Conditions, Reading, Threshold
from headrace.scaling.core.signals import Signal, View

THRESHOLDS = {Signal.CPU: Threshold(0.7, 0.3), Signal.QUEUE: Threshold(50, 5)}


def conditions() -> Conditions:
    return Conditions(THRESHOLDS, window_s=10.0, gap_s=15.0)


def looked(found: Conditions, *values: float, since: float = 0.0) -> Reading:
    """The last reading of the CPU, looked at every five seconds."""
    told: tuple[Reading, ...] = ()
    for step, value in enumerate(values):
        told = found.look(View({Signal.CPU: value}), since + 5.0 * step)
    return told[0]


def test_a_threshold_holds_after_its_window() -> None:
    """Not before, and from then on."""
    assert not looked(conditions(), 0.9, 0.9).over
    assert looked(conditions(), 0.9, 0.9, 0.9).over
    assert looked(conditions(), 0.1, 0.1, 0.1, 0.1).under


def test_the_window_begins_anew_after_a_look_within() -> None:
    """One value on the other side, and the time does not count."""
    assert not looked(conditions(), 0.9, 0.9, 0.5, 0.9, 0.9).over
    assert looked(conditions(), 0.9, 0.5, 0.9, 0.9, 0.9).for_s == 10.0


def test_the_threshold_itself_is_not_over() -> None:
    """More than 70 %, less than 30 %."""
    assert not looked(conditions(), 0.7, 0.7, 0.7).over
    assert not looked(conditions(), 0.3, 0.3, 0.3).under


def test_time_without_the_signal_does_not_count() -> None:
    """What nobody saw is not known to have held."""
    found = conditions()
    looked(found, 0.9, 0.9)
    found.look(View({}), 10.0)
    assert not looked(found, 0.9, since=12.0).over


def test_time_in_which_nobody_looked_does_not_count() -> None:
    """A process that was stopped for a minute has not seen a minute of load."""
    found = conditions()
    looked(found, 0.9)
    assert not looked(found, 0.9, since=60.0).over
    assert looked(found, 0.9, 0.9, since=65.0).over


def test_a_signal_without_a_threshold_is_told() -> None:
    """It never holds."""
    (found,) = conditions().look(View({Signal.REQUEST_RATE: 1e9}), 0.0)
    assert (found.value, found.threshold, found.over, found.under) == (1e9, None, False, False)
