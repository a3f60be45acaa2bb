"""Price books: texts to nano-units, times to books, amounts to costs."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.metering.core.prices import (
    DEFAULT_BOOK,
    GB,
    HOUR_NS,
    MONTH_MS,
    PriceBook,
    PriceBooks,
    Rate,
    book_of,
    books_of,
    nanos_of,
)

JANUARY = {"version": "1", "effective_time": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("text", "nanos"), [("2.5", 2_500_000_000), ("0.05", 50_000_000), ("0", 0), ("0.000000001", 1)]
)
def test_prices_are_read_exactly(text: str, nanos: int) -> None:
    """A decimal text is its number of nano-units, with no float between them."""
    assert nanos_of(text) == nanos


@given(st.integers(0, 1000 * 10**9))
def test_no_price_is_off_by_a_nano_unit(nanos: int) -> None:
    """A float would be: 0.29 times a billion is 289,999,999.99999994."""
    assert nanos_of(f"{nanos // 10**9}.{nanos % 10**9:09}") == nanos


@pytest.mark.parametrize("text", ["", "-1", "1e3", "0.0000000001", "nan", "1,5", "1000.1", " 1", "٣", ".5"])
def test_what_is_no_price_is_refused(text: str) -> None:
    """More than nine decimals, signs, exponents and the like are mistakes, not roundings."""
    with pytest.raises(ValueError, match="must be"):
        nanos_of(text)


def test_the_default_prices_are_those_of_the_specification() -> None:
    """An hour of GPU is 2.5, an hour of CPU 0.1, a GB stored for a month 0.02, a call 0.001, a GB moved 0.05."""
    assert DEFAULT_BOOK.gpu_ns.of(HOUR_NS) == 2_500_000_000
    assert DEFAULT_BOOK.cpu_ns.of(HOUR_NS) == 100_000_000
    assert DEFAULT_BOOK.byte_ms.of(GB * MONTH_MS) == 20_000_000
    assert DEFAULT_BOOK.api_call == 1_000_000
    assert DEFAULT_BOOK.byte.of(GB) == 50_000_000


def test_an_hour_costs_3600_times_a_second() -> None:
    """Prices are for hours, times are nanoseconds: neither is taken for seconds."""
    assert DEFAULT_BOOK.gpu_ns.of(3600 * 10**9) == 2_500_000_000
    assert DEFAULT_BOOK.gpu_ns.of(10**9) == 694_444  # 2.5 / 3600
    assert DEFAULT_BOOK.cpu_ns.of(10**9) == 27_778  # 0.1 / 3600


@given(amount=st.integers(0, 2**75), over=st.integers(0, 10**12), under=st.integers(1, 3 * 10**18))
def test_costs_are_rounded_to_the_nearest_halves_up(amount: int, over: int, under: int) -> None:
    """No cost is more than half a nano-unit away from the exact one, at any size."""
    error = Rate(over, under).of(amount) - Fraction(amount * over, under)
    assert Fraction(-1, 2) < error <= Fraction(1, 2)


def book(version: int, effective_ms: int, currency: str = "USD") -> PriceBook:
    return PriceBook(version, currency, effective_ms, 1, 1, 1, 1, 1)


def test_the_book_of_a_time_is_the_last_that_began() -> None:
    """A book holds from its first millisecond to the last before the next one's."""
    books = PriceBooks([book(2, 2000), book(1, 1000), book(3, 3000)])
    found = [books.at(ms).version for ms in (0, 1000, 1999, 2000, 2999, 3000, 10**15)]
    assert found == [1, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("books", "why"),
    [([], "must be a"), ([book(1, 0), book(1, 5)], "version"), ([book(1, 0), book(2, 0, "EUR")], "currency")],
)
def test_books_that_contradict_each_other_are_refused(books: list[PriceBook], why: str) -> None:
    """Versions are unique, and one ledger has one currency."""
    with pytest.raises(ValueError, match=why):
        PriceBooks(books)


def test_a_book_is_read_from_texts() -> None:
    """Prices that are not given are the default's."""
    problems: list[str] = []
    found = book_of({**JANUARY, "gpu_hour": "3.25", "currency": "EUR"}, problems, "[0]")
    assert not problems
    assert found == PriceBook(
        1, "EUR", 1_767_225_600_000, 3_250_000_000, 100_000_000, 20_000_000, 1_000_000, 50_000_000
    )


def test_every_mistake_of_a_book_is_named() -> None:
    """A float is one, even where it looks right: 0.1 has no exact form."""
    problems: list[str] = []
    fields = {
        "version": "0",
        "effective_time": "2026-01-01",
        "gpu_hour": 0.1,
        "cpu_hour": "x",
        "currency": "usd",
        "tax": "1",
    }
    assert books_of([fields], problems) is None
    found = sorted(problem.split(":")[0] for problem in problems)
    assert found == sorted(f"[0].{name}" for name in fields)
