"""The edge's figures on disk: sums by minute, bounded, and no reason not to start."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from headrace.metering.core.edge import Outcome
from headrace.metering.core.joining import Compared
from headrace.metering.edge_store import EdgeStore
from headrace.metering.usage import EdgeComparison, EdgeCount, Question

ANSWERED, TOKEN = int(Outcome.ANSWERED), int(Outcome.TOKEN)


def test_figures_add_up(tmp_path: Path) -> None:
    """Over minutes, and for those whom they are told apart by; a period's end does not belong to it."""
    with closing(EdgeStore(tmp_path / "edge")) as store:
        for _ in range(2):
            store.add(
                {
                    (0, "a", ANSWERED): [2, 20, 200],
                    (60, "a", ANSWERED): [1, 1, 1],
                    (60, "", TOKEN): [5, 5, 5],
                },
                {(0, "a", "m"): Compared(2, 1, 30, 20, 0, 1), (60, "a", ""): Compared(edge_only=3)},
            )
        assert store.counts(Question(0, 60, by_tenant=True)) == [EdgeCount("a", Outcome.ANSWERED, 4, 40, 400)]
        assert store.counts(Question(0, 120, by_tenant=False)) == [
            EdgeCount("", Outcome.ANSWERED, 6, 42, 402),
            EdgeCount("", Outcome.TOKEN, 10, 10, 10),
        ]
        assert store.comparisons(Question(0, 120, by_tenant=False, by_model=True)) == [
            EdgeComparison("", "", edge_only=6),
            EdgeComparison("", "m", 4, 2, 60, 40, 0, 2),
        ]


def test_figures_survive(tmp_path: Path) -> None:
    """The file is its owner's alone."""
    for _ in range(2):
        with closing(EdgeStore(tmp_path / "edge")) as store:
            store.add({(0, "a", ANSWERED): [1, 1, 1]}, {})
    assert (tmp_path / "edge").stat().st_mode & 0o777 == 0o600
    with closing(EdgeStore(tmp_path / "edge")) as store:
        assert store.counts(Question(0, 60, by_tenant=False))[0].requests == 2


def test_the_oldest_minutes_go(tmp_path: Path) -> None:
    """As many rows as may be stay, the newest."""
    with closing(EdgeStore(tmp_path / "edge", max_rows=2)) as store:
        store.add({(minute, "a", ANSWERED): [1, 1, 1] for minute in (0, 60, 120, 180)}, {})
        store.tidy()
        assert store.counts(Question(0, 120, by_tenant=False)) == []
        assert store.counts(Question(120, 240, by_tenant=False))[0].requests == 2


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    """The figures begin anew, and what was there is kept for whoever wants to look."""
    (tmp_path / "edge").write_bytes(b"no database at all, whatever one may say of it" * 100)
    with closing(EdgeStore(tmp_path / "edge")) as store:
        assert store.counts(Question(0, 60, by_tenant=False)) == []
    assert (tmp_path / "edge.damaged").read_bytes().startswith(b"no database")


def test_a_failure_adds_nothing(tmp_path: Path) -> None:
    """Neither of the two tables."""
    with closing(EdgeStore(tmp_path / "edge")) as store:
        with pytest.raises(sqlite3.Error):
            store.add({(0, "a", ANSWERED): [1, 1, 1]}, {(0, "a", None): Compared(1)})  # type: ignore[dict-item]
        assert store.counts(Question(0, 60, by_tenant=False)) == []


def test_one_tenants_figures(tmp_path: Path) -> None:
    """Alone, also where rows are not told apart."""
    with closing(EdgeStore(tmp_path / "edge")) as store:
        store.add(
            {(0, name, ANSWERED): [1, 1, 1] for name in ("a", "b", "")},
            {(0, name, "m"): Compared(1, 0, 1, 1) for name in ("a", "b")},
        )
        assert store.counts(Question(only="a")) == [EdgeCount("", Outcome.ANSWERED, 1, 1, 1)]
        assert store.comparisons(Question(only="b")) == [EdgeComparison("", "", 1, 0, 1, 1)]
