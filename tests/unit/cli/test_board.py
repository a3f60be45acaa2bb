"""`headrace top`: what a person reads."""

import io

import pytest
from rich.console import Console

from headrace.cli.board import board, rate, time
from headrace.insight.figures import (
    CacheLevelFigures,
    Estimate,
    GatewayFigures,
    Health,
    LimitFigures,
    ModelFigures,
    Overview,
    ProcessFigures,
    Quantiles,
)

BUSY = Overview(
    time_ns=1,
    rate_window_s=10.0,
    quantile_window_s=60.0,
    processes=(
        ProcessFigures("guard", "guard", Health.DOWN, 12.0),
        ProcessFigures("inference-0", "inference", Health.UP, 0.1),
    ),
    gateway=GatewayFigures(1234.0, 2.0, 0.0, 7, 40, Quantiles(Estimate(0.0021), Estimate(0.0135))),
    codes=(("OK", 1230.0), ("RESOURCE_EXHAUSTED", 4.0)),
    models=(
        ModelFigures(
            "minilm-encoder",
            1230.0,
            4.0,
            Quantiles(Estimate(0.002), Estimate(0.0123), Estimate(30.0, at_least=True)),
            Quantiles(p95=Estimate(0.001)),
            Quantiles(p95=Estimate(0.25)),
            7.5,
        ),
        ModelFigures("idle", 0.0, 0.0, Quantiles(), Quantiles(), Quantiles(), None),
    ),
    cache_levels=(CacheLevelFigures("near", 900.0, 0.833), CacheLevelFigures("redis", 0.0, None)),
    limits=LimitFigures(1230.0, 4.0, 1),
    breakers=(("minilm-encoder", "half_open"),),
    cost=(("USD", 1_234_000_000_001),),
)


def shown(overview: Overview, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(board(overview))
    return out.getvalue()


def test_every_figure_is_shown_on_eighty_columns() -> None:
    """In whole: no column is cut."""
    text = shown(BUSY)
    assert "…" not in text
    for part in ("guard down for 12 s", "inference-0", "1,234", "2.10ms", "13.5ms", "≥30.0s", "7.5", "83.3%"):
        assert part in text
    for part in ("OK 1,230/s", "half open", "replicas without guard", "USD", "1234.000000001"):
        assert part in text


def test_what_is_not_known_is_no_zero() -> None:
    """A mesh of which nothing answers has no rate that one could read."""
    text = shown(Overview(1, 10.0, 60.0, (ProcessFigures("guard", "guard", Health.DOWN, None),)))
    assert "guard down never read" in text
    assert "gateway: not known" in text
    assert "models: not known" in text
    assert not any(digit in text.split("rates of")[0].replace("never read", "") for digit in "0123456789")


def test_names_are_no_markup() -> None:
    """A model's name is text: it opens no style of the terminal's."""
    name = "[red]x[/red]\x1b[31m"
    text = shown(
        Overview(
            1, 10.0, 60.0, models=(ModelFigures(name, 1.0, 0.0, Quantiles(), Quantiles(), Quantiles(), None),)
        )
    )
    assert "[red]x[/red]" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.00012, "0.12ms"), (0.01234, "12.3ms"), (0.25, "250ms"), (1.2, "1.20s")]
)
def test_times_have_three_digits(seconds: float, text: str) -> None:
    """And a unit that suits them."""
    assert time(Estimate(seconds)) == text
    assert time(None) == rate(None) == "-"
