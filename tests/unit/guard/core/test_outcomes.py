"""Outcomes, gathered."""

from headrace.guard.core.frames import Outcome
from headrace.guard.core.limits import Code
from headrace.guard.core.outcomes import Outcomes


def test_successes_are_one_report() -> None:
    """With their number and their mean latency."""
    outcomes = Outcomes()
    for latency_s in (0.1, 0.2, 0.3):
        outcomes.succeeded("m", latency_s)
    (report,) = outcomes.taken()
    assert (report.model, report.code, report.count, round(report.latency_s, 6)) == (
        "m",
        Code.SUCCESS,
        3,
        0.2,
    )
    assert outcomes.taken() == []


def test_their_order_around_failures_is_kept() -> None:
    """Success, failure, success: the last one ends the row, the first does not."""
    outcomes = Outcomes()
    outcomes.succeeded("m", 0.1)
    outcomes.ended("m", Code.FAILURE, 0.2)
    outcomes.succeeded("m", 0.3)
    outcomes.succeeded("other", 0.4)
    assert outcomes.taken() == [
        Outcome("m", Code.SUCCESS, 1, 0.1),
        Outcome("m", Code.FAILURE, 1, 0.2),
        Outcome("m", Code.SUCCESS, 1, 0.3),
        Outcome("other", Code.SUCCESS, 1, 0.4),
    ]
