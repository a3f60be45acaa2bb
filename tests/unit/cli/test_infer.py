"""What `headrace infer` makes of the metadata beside an answer."""

import io

import pytest

from headrace.cli.infer import Answer, document, show
from headrace.cli.output import Output

COMPUTED = {
    "headrace-total-us": "5000",
    "headrace-batch-size": "2",
    "headrace-batch-position": "1",
    "headrace-replica": "inference-1",
    "headrace-cache": "miss",
    "headrace-cost-nanos": "1000212",
    "headrace-currency": "EUR",
}


def test_cost_and_level() -> None:
    """The document has the cache level and the cost as they were told."""
    found = document("m", Answer([], COMPUTED, 0.006))
    assert found["cost"] == {"nanos": 1000212, "currency": "EUR"}
    assert (found["cache"], found["batch_size"], found["batch_position"]) == ("miss", 2, 1)


def test_untold() -> None:
    """A mesh without metering and cache tells neither: null, not zero."""
    found = document("m", Answer([], {}, 0.006))
    assert (found["cost"], found["cache"]) == (None, None)


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({}, "from   a batch of 2 row(s) on inference-1"),
        ({"headrace-cache": "near", "headrace-batch-size": "0"}, "from   the near-cache of inference-1"),
        ({"headrace-cache": "memory", "headrace-batch-size": "0"}, "from   the cache's memory"),
        ({"headrace-cache": "redis", "headrace-batch-size": "0"}, "from   the cache's Redis"),
        ({"headrace-batch-size": "0"}, "from   the same request, running on inference-1"),
    ],
)
def test_shown(told: dict[str, str], line: str) -> None:
    """A person reads where the answer came from, and its price to the digit."""
    out = io.StringIO()
    show(Answer([], {**COMPUTED, **told}, 0.006), Output(as_json=False, out=out))
    assert line in out.getvalue()
    assert "cost   0.001000212 EUR" in out.getvalue()
