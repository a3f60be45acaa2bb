"""Prometheus' text format, against the library that writes it."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from headrace.insight.core.exposition import Series, Wanted, read

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.dictionaries(st.tuples(TEXTS, TEXTS), st.integers(0, 2**53), max_size=8))
def test_what_is_written_is_read(rows: dict[tuple[str, str], int]) -> None:
    """Whatever stands in labels: quotes, backslashes, braces, line ends."""
    registry = CollectorRegistry()
    counter = Counter("seen", "What {was} seen.", ("model", "result"), registry=registry)
    Gauge("other", "Not wanted.", registry=registry)
    for (model, result), count in rows.items():
        counter.labels(model, result).inc(count)
    text = generate_latest(registry).decode()
    found = read(text, {"seen_total": Wanted(("model", "result"))})
    assert found == {Series("seen_total", labels): count for labels, count in rows.items()}


def test_labels_that_are_not_kept_are_added_up() -> None:
    """One series for each value of the labels that are."""
    text = 'a_total{m="x",c="OK"} 1\na_total{m="y",c="OK"} 2\na_total{m="x",c="NO"} 4\n'
    assert read(text, {"a_total": Wanted(("c",))}) == {
        Series("a_total", ("OK",)): 3,
        Series("a_total", ("NO",)): 4,
    }


def test_only_what_has_the_label_counts() -> None:
    """Envoy's own admin requests are not those of clients."""
    text = 'rq{prefix="admin"} 7\nrq{prefix="edge"} 2 1700000000000\n'
    assert read(text, {"rq": Wanted(only=(("prefix", "edge"),))}) == {Series("rq"): 2}


def test_a_metric_without_its_labels_is_another_one() -> None:
    """Somebody else's process may tell a metric of the same name."""
    assert read('a{b="1"} 2\na{c="1"} 4\n', {"a": Wanted(("b",))}) == {Series("a", ("1",)): 2}


@pytest.mark.parametrize("line", ["a", "a NaN", "a +Inf", "a one", 'a{b="c" 1', "a{} 1 2 3", "ab 1", "# a 1"])
def test_what_can_not_be_read_is_passed_over(line: str) -> None:
    """It must not hide what stands after it."""
    assert read(f"{line}\na 5\n", {"a": Wanted()}) == {Series("a"): 5}


def test_a_long_label_takes_little_memory() -> None:
    """Escaped characters took 150 times their size once."""
    text = 'a{b="' + "\\x" * 10_000 + '"} 1\n'
    read(text, {"a": Wanted(("b",))})  # compiles what it needs
    tracemalloc.start()
    assert len(read(text, {"a": Wanted(("b",))})) == 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * len(text)
