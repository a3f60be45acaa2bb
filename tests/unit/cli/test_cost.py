"""`headrace cost`: what is asked for, and amounts to the digit."""

import io
import json

import pytest
import typer

from headrace.cli.cost import dimensions_of, document, seconds_of
from headrace.cli.output import Output, money
from headrace.metering.client import Cost, CostReport, CostRow

ROW = CostRow("acme", "minilm", 4, 3, Cost(109, 324, 7, 4_000_000, "USD"), 1, 50)
REPORT = CostReport("USD", 1_700_000_000, 1_700_003_600, (ROW,))


@pytest.mark.parametrize(
    ("by", "dimensions"),
    [("tenant", ["tenant"]), ("model, tenant", ["tenant", "model"]), ("model", ["model"])],
)
def test_dimensions(by: str, dimensions: list[str]) -> None:
    """By tenant, model or both, the tenant first."""
    assert dimensions_of(by) == dimensions


@pytest.mark.parametrize("by", ["", ",", "colour", "tenant,colour"])
def test_no_dimension(by: str) -> None:
    """Costs can't be told apart by anything else."""
    with pytest.raises(typer.BadParameter):
        dimensions_of(by)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604_800)])
def test_since(text: str, seconds: int) -> None:
    """A number and its unit."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1.5h", "1h30m", "yesterday", "\u0661h"])
def test_no_length(text: str) -> None:
    """Anything else is refused, not guessed."""
    with pytest.raises(typer.BadParameter):
        seconds_of(text)


def test_document() -> None:
    """The shape that scripts rely on: integers in nano-units, times in UTC."""
    assert document(REPORT) == {
        "currency": "USD",
        "since": "2023-11-14T22:13:20Z",
        "until": "2023-11-14T23:13:20Z",
        "rows": [
            {
                "tenant": "acme",
                "model": "minilm",
                "requests": 4,
                "cached": 3,
                "total_nanos": 4_000_440,
                "compute_nanos": 109,
                "network_nanos": 324,
                "storage_nanos": 7,
                "api_nanos": 4_000_000,
                "wasted_requests": 1,
                "waste_nanos": 50,
            }
        ],
    }


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0.000000000"),
        (1, "0.000000001"),
        (1_000_000_000, "1.000000000"),
        (10**18 + 1, "1000000000.000000001"),
        (-1_500_000_000, "-1.500000000"),
    ],
)
def test_money(nanos: int, text: str) -> None:
    """Every digit counts, also where a float would have lost it."""
    assert money(nanos) == text


def test_money_stands_to_the_right() -> None:
    """Amounts in a table are numbers: their points stand below each other."""
    out = io.StringIO()
    Output(as_json=False, out=out).table(["total"], [[money(1)], [money(10**13)]])
    assert out.getvalue().splitlines()[1:] == ["    0.000000001", "10000.000000000"]
    assert json.dumps(money(1)) == '"0.000000001"'
