"""The figures: what is printed, and whether it is good enough. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table.

    `value` is compared with `must` and `aim`; both are None for a figure that
    is only told. `ours` and `floor` are what it was made of, with their unit.
    `missing` says why there is no value.
    """

    name: str
    ours: str = ""
    floor: str = ""
    value: float | None = None
    unit: str = "x"
    must: float | None = None
    aim: float | None = None
    lower_is_better: bool = False
    missing: str = ""

    @property
    def verdict(self) -> str:
        """`aim` (reached), `pass`, `FAIL`, `not measured`, or nothing where there is no bound."""
        if self.value is None:
            return "not measured"
        if self._reaches(self.aim):
            return "aim"
        if self.must is None:
            return ""
        return "pass" if self._reaches(self.must) else "FAIL"

    def _reaches(self, bound: float | None) -> bool:
        if bound is None or self.value is None:
            return False
        return self.value <= bound if self.lower_is_better else self.value >= bound


def interleaved_ratio(ours: Sequence[float], floors: Sequence[float]) -> float:
    """The median of ours over the mean of the floor runs just before and after.

    The host drifts by 20 % within minutes, so each run is compared only with
    its neighbours. `floors` has one run more than `ours`.
    """
    if len(floors) != len(ours) + 1:
        raise ValueError(f"{len(ours)} runs need {len(ours) + 1} floor runs, got {len(floors)}")
    return median(run / mean(floors[i : i + 2]) for i, run in enumerate(ours))


def spread(values: Sequence[float]) -> str:
    """The median and the range: `12,300 (11,900-12,800)`."""
    return f"{median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"


def table(figures: Sequence[Figure]) -> str:
    """A Markdown table."""
    rows: list[tuple[str, ...]] = [("figure", "ours", "floor", "value", "must", "aim", "verdict")]
    rows += [
        (f.name, f.ours or "-", f.floor or "-", _value(f), _bound(f, f.must), _bound(f, f.aim), _verdict(f))
        for f in figures
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        f"| {' | '.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))} |" for row in rows
    )


def _value(figure: Figure) -> str:
    return "-" if figure.value is None else f"{figure.value:.2f} {figure.unit}"


def _bound(figure: Figure, bound: float | None) -> str:
    sign = "<=" if figure.lower_is_better else ">="
    return "-" if bound is None else f"{sign} {bound:g}"


def _verdict(figure: Figure) -> str:
    return f"{figure.verdict}: {figure.missing}" if figure.missing else figure.verdict or "-"
