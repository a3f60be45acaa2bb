"""`headrace limits` and `headrace breakers`: the shapes that scripts rely on, and what a person reads."""

import io

from headrace.cli.limits import show_breakers, show_limits
from headrace.cli.output import Output
from headrace.guard.client import KnownBreaker, Limits, LimitsInUse, State

DEFAULTS = LimitsInUse("", Limits(), 0, 0, 0)
ACME = LimitsInUse("acme", Limits(0.01, 20, 4, 0.05), 17, 2, 2)
OPEN = KnownBreaker("minilm", State.HALF_OPEN, 5, 1.25)


def printed(*, as_json: bool) -> tuple[Output, io.StringIO]:
    out = io.StringIO()
    return Output(as_json=as_json, out=out), out


def test_limits_for_a_program() -> None:
    """The defaults' entry has no tenant; a fractional rate stays one."""
    output, out = printed(as_json=True)
    show_limits([DEFAULTS, ACME], output)
    assert out.getvalue() == (
        '{"limits": [{"tenant": null, "rate": 1000.0, "burst": 1000, "concurrency": 100, "wait_ms": 0,'
        ' "available": 0, "slots_leased": 0, "holders": 0}, {"tenant": "acme", "rate": 0.01, "burst": 20,'
        ' "concurrency": 4, "wait_ms": 50, "available": 17, "slots_leased": 2, "holders": 2}]}\n'
    )


def test_limits_for_a_person() -> None:
    """What is in use is a tenant's; of the defaults there is nothing to say."""
    output, out = printed(as_json=False)
    show_limits([DEFAULTS, ACME], output)
    defaults, acme = out.getvalue().splitlines()[1:]
    assert defaults.split() == ["(every", "other)", "1000", "1000", "100", "0", "ms", "-", "-", "-"]
    assert acme.split() == ["acme", "0.01", "20", "4", "50", "ms", "17", "2", "2"]


def test_breakers() -> None:
    """Each breaker that is not just closed, with its state's name and when a probe may pass."""
    output, out = printed(as_json=True)
    show_breakers([OPEN], output)
    assert out.getvalue() == (
        '{"breakers": [{"model": "minilm", "state": "half_open", "failures": 5, "retry_after_s": 1.25}]}\n'
    )


def test_no_breakers() -> None:
    """Nothing failed: a sentence for a person, an empty list for a program."""
    output, out = printed(as_json=False)
    show_breakers([], output)
    assert "every breaker is closed" in out.getvalue()
    output, out = printed(as_json=True)
    show_breakers([], output)
    assert out.getvalue() == '{"breakers": []}\n'
