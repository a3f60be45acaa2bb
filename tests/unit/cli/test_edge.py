"""`headrace cost --edge`: the shape of its document."""

from headrace.cli.edge import document
from headrace.metering.client import EdgeComparison, EdgeCount, EdgeReport
from headrace.metering.core.edge import Outcome

REPORT = EdgeReport(
    1_700_000_000,
    1_700_003_600,
    (EdgeCount("", Outcome.TOKEN, 2, 700, 300), EdgeCount("acme", Outcome.ANSWERED, 3, 30, 20)),
    (EdgeComparison("acme", "linear", 2, 1, 50, 40, 0, 1, 4),),
    5,
)


def test_document() -> None:
    """The shape that scripts rely on: whole numbers, times in UTC, null for nobody."""
    assert document(REPORT) == {
        "since": "2023-11-14T22:13:20Z",
        "until": "2023-11-14T23:13:20Z",
        "requests": [
            {"tenant": None, "outcome": "token", "requests": 2, "received_bytes": 700, "sent_bytes": 300},
            {"tenant": "acme", "outcome": "answered", "requests": 3, "received_bytes": 30, "sent_bytes": 20},
        ],
        "comparisons": [
            {
                "tenant": "acme",
                "model": "linear",
                "matched": 2,
                "bytes_differ": 1,
                "edge_bytes": 50,
                "ledger_bytes": 40,
                "edge_only": 0,
                "ledger_only": 1,
                "ledger_events": 4,
            }
        ],
        "waiting": 5,
    }
