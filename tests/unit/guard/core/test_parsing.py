"""The limits as JSON."""

import pytest

from headrace.guard.core.limits import BreakerRule, LimitBook, Limits
from headrace.guard.core.parsing import LimitsInvalid, parsed


def test_nothing_said_is_the_specification() -> None:
    """1,000 a second with bursts of 1,000, 100 in flight, 5 failures, 60 s."""
    book = parsed("{}")
    assert book == LimitBook()
    assert book.of("anybody") == Limits(1000.0, 1000, 100, 0.0)
    assert book.breaker == BreakerRule(5, 60.0)


def test_tenants_inherit_what_they_leave_out() -> None:
    """From the object's own limits, not from the specification's."""
    book = parsed(
        '{"rate": 50, "wait_ms": 20, "breaker": {"open_s": 0.5},'
        ' "tenants": {"acme": {"burst": 7, "rate": 0.01}, "umbrella": {}}}'
    )
    assert book.of("acme") == Limits(0.01, 7, 100, 0.02)
    assert book.of("umbrella") == book.default == Limits(50.0, 1000, 100, 0.02)
    assert book.breaker == BreakerRule(5, 0.5)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("[]", ["it must be a JSON object"]),
        ("rate: 5", ["must be a JSON object"]),
        ("[" * 50_000, ["must be a JSON object"]),
        ('{"rate": "5"}', ["rate must be a number, not '5'"]),
        ('{"rate": 0}', ["rate must be between 1e-06 and 1000000000, not 0"]),
        ('{"rate": NaN}', ["rate must be a number, not nan"]),
        ('{"burst": 1.5}', ["burst must be a whole number, not 1.5"]),
        ('{"burst": 0}', ["burst must be between 1 and 1000000000, not 0"]),
        ('{"concurrency": true}', ["concurrency must be a whole number, not True"]),
        ('{"wait_ms": -1}', ["wait_ms must be between 0 and 1000000000, not -1"]),
        ('{"breaker": 5}', ["breaker must be a JSON object"]),
        ('{"tenants": []}', ["tenants must be a JSON object"]),
        ('{"tenants": {"acme": 5}}', ["tenants.acme must be a JSON object"]),
    ],
)
def test_a_mistake_is_named(text: str, problems: list[str]) -> None:
    """With where it is and what was expected."""
    with pytest.raises(LimitsInvalid) as raised:
        parsed(text)
    assert raised.value.problems == problems


def test_all_mistakes_at_once() -> None:
    """Unknown keys are mistakes: a limit that was misspelt would not hold."""
    with pytest.raises(LimitsInvalid) as raised:
        parsed('{"rat": 5, "burst": 0, "tenants": {"acme": {"rates": 1}}, "breaker": {"failures": 0}}')
    assert [problem.split(" ")[0].rstrip(":") for problem in raised.value.problems] == [
        "rat",
        "burst",
        "tenants.acme.rates",
        "breaker.failures",
    ]
