"""What a caller may see."""

from headrace.insight.figures import Overview
from headrace.insight.readers import only, seen_overview, seen_trace
from headrace.insight.spans import Trace
from headrace.runtime.rpc import Caller
from tests.fakes.insight import stored_span

OPERATOR = Caller("operator", frozenset({"observe", "operate"}))
ACME = Caller("acme", frozenset({"observe"}))


def test_only_an_operator_is_told_what_all_pay() -> None:
    """Everything else of the figures is the same for both."""
    overview = Overview(7, 10.0, 60.0, codes=(("OK", 1.0),), cost=(("USD", 5),))
    assert seen_overview(overview, OPERATOR) == overview
    assert seen_overview(overview, ACME) == Overview(7, 10.0, 60.0, codes=(("OK", 1.0),), cost=None)


def test_a_tenant_sees_its_own() -> None:
    """An operator sees all, and is no tenant though its token names one."""
    trace = Trace((stored_span(1, 1, tenant="other"),), ())
    assert (only(OPERATOR), only(ACME)) == ("", "acme")
    assert seen_trace(trace, OPERATOR) == trace
    assert seen_trace(trace, ACME) == Trace((), ())
