"""When a trace is whole enough to be drawn."""

import pytest

from headrace.cli.trace import whole
from headrace.insight.client import Span, Trace

ASKED = {"upstream_cluster": "inference-hot"}


def span(name: str, parent: str = "", **attributes: str) -> Span:
    return Span("t", name, parent, "s", name, 0, 1, attributes=attributes)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], False),
        ([span("replica", "gateway")], False),
        ([span("gateway", **ASKED), span("cache", "replica")], False),
        ([span("gateway", **ASKED)], False),
        ([span("gateway", **ASKED), span("replica", "gateway"), span("cache", "replica")], True),
        ([span("gateway")], True),
    ],
    ids=["nothing", "no root", "no parent", "a replica was asked", "all", "refused by the gateway"],
)
def test_a_trace_is_waited_for_until_it_is_whole(spans: list[Span], expected: bool) -> None:
    """Spans come in any order: one whose parent is on its way is not drawn beside the root."""
    assert whole(Trace(tuple(spans), ())) is expected
