"""Price books: what each kind of usage costs, from when on, in whole nano-units.

A cost is `amount x price / unit`, rounded to the nearest nano-unit, halves up,
for each part of each event: what a client was told and what the ledger holds
are sums of the same whole numbers. No float takes part.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from math import gcd
from typing import NamedTuple

NANO = 10**9
HOUR_NS = 3600 * 10**9
GB = 10**9
MONTH_MS = 30 * 86_400 * 1000

MAX_PRICE = 1000 * NANO
"""Bounds that let a whole segment's cost fit 64 bits, see `columns.py`."""
_DECIMAL = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,9}))?")
_CURRENCY = re.compile(r"[A-Z]{3}")


class Rate(NamedTuple):
    """A price for one of the small units that are measured: nano-units = amount x over / under."""

    over: int
    under: int

    def of(self, amount: int) -> int:
        """What the amount costs, to the nearest nano-unit, halves up."""
        return (2 * amount * self.over + self.under) // (2 * self.under)


@dataclass(frozen=True)
class PriceBook:
    """Prices in nano-units; `effective_ms` counts from 1970."""

    version: int
    currency: str
    effective_ms: int
    gpu_hour: int
    cpu_hour: int
    storage_gb_month: int
    api_call: int
    network_gb: int

    @cached_property
    def gpu_ns(self) -> Rate:
        """For a nanosecond of GPU time."""
        return _rate(self.gpu_hour, HOUR_NS)

    @cached_property
    def cpu_ns(self) -> Rate:
        """For a nanosecond of CPU time."""
        return _rate(self.cpu_hour, HOUR_NS)

    @cached_property
    def byte(self) -> Rate:
        """For a byte that came or went."""
        return _rate(self.network_gb, GB)

    @cached_property
    def byte_ms(self) -> Rate:
        """For a byte stored for a millisecond."""
        return _rate(self.storage_gb_month, GB * MONTH_MS)


DEFAULT_BOOK = PriceBook(
    version=1,
    currency="USD",
    effective_ms=0,
    gpu_hour=2_500_000_000,
    cpu_hour=100_000_000,
    storage_gb_month=20_000_000,
    api_call=1_000_000,
    network_gb=50_000_000,
)
"""What holds when nothing else is said."""


class PriceBooks:
    """The books of a ledger, by version and by time. Never empty."""

    def __init__(self, books: Iterable[PriceBook]) -> None:
        """Raises ValueError for no book, a version given twice, or several currencies."""
        self.all = tuple(sorted(books, key=lambda book: (book.effective_ms, book.version)))
        self._by_version = {book.version: book for book in self.all}
        if not self.all:
            raise ValueError("there must be a price book")
        if len(self._by_version) < len(self.all):
            raise ValueError("two price books have the same version")
        if len({book.currency for book in self.all}) > 1:
            raise ValueError("all price books must have the same currency")
        self.currency = self.all[0].currency
        self._starts = [book.effective_ms for book in self.all]

    def at(self, time_ms: int) -> PriceBook:
        """The book that holds then; before the first one, the first."""
        if time_ms >= self._starts[-1]:
            return self.all[-1]
        return self.all[max(0, bisect_right(self._starts, time_ms) - 1)]

    def get(self, version: int) -> PriceBook | None:
        """The book of that version."""
        return self._by_version.get(version)


def nanos_of(text: str) -> int:
    """A decimal text as nano-units: "0.05" is 50,000,000. Raises ValueError."""
    found = _DECIMAL.fullmatch(text)
    if not found:
        raise ValueError(f"must be a decimal number with at most 9 decimals, not {text!r}")
    nanos = int(found[1]) * NANO + int((found[2] or "").ljust(9, "0"))
    if nanos > MAX_PRICE:
        raise ValueError(f"must be at most {MAX_PRICE // NANO}, not {text!r}")
    return nanos


_PRICES = ("gpu_hour", "cpu_hour", "storage_gb_month", "api_call", "network_gb")


def book_of(fields: Mapping[str, object], problems: list[str], where: str) -> PriceBook | None:
    """A book from a configuration's fields; what is wrong is added to `problems`.

    Numbers must come as the text that was written: a float is refused. Prices
    that are not given are the default's.
    """
    found = len(problems)
    prices = {name: _price(fields, name, problems, where) for name in _PRICES}
    version = _version(fields.get("version"), problems, where)
    currency = fields.get("currency", DEFAULT_BOOK.currency)
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        problems.append(f"{where}.currency: must be a code of three letters, not {currency!r}")
    effective_ms = _effective_ms(fields.get("effective_time"), problems, where)
    unknown = fields.keys() - {*_PRICES, "version", "currency", "effective_time"}
    problems.extend(f"{where}.{name}: no such field" for name in sorted(unknown))
    if len(problems) > found:
        return None
    return PriceBook(version, str(currency), effective_ms, **prices)


def books_of(entries: Sequence[Mapping[str, object]], problems: list[str]) -> PriceBooks | None:
    """All books of a configuration; None when `problems` got what is wrong."""
    books = [book_of(entry, problems, f"[{i}]") for i, entry in enumerate(entries)]
    if any(book is None for book in books):
        return None
    try:
        return PriceBooks(book for book in books if book is not None)
    except ValueError as error:
        problems.append(str(error))
        return None


def _rate(price: int, unit: int) -> Rate:
    common = gcd(price, unit)
    return Rate(price // common, unit // common)


def _price(fields: Mapping[str, object], name: str, problems: list[str], where: str) -> int:
    default: int = getattr(DEFAULT_BOOK, name)
    if name not in fields:
        return default
    try:
        value = fields[name]
        if not isinstance(value, str):
            raise ValueError(f"must be a decimal text, not {value!r}")  # noqa: TRY004 - told with the others
        return nanos_of(value)
    except ValueError as error:
        problems.append(f"{where}.{name}: {error}")
        return default


def _version(value: object, problems: list[str], where: str) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and 0 < int(value) < 2**31:
        return int(value)
    problems.append(f"{where}.version: must be a whole number from 1, not {value!r}")
    return 0


def _effective_ms(value: object, problems: list[str], where: str) -> int:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        if time is None or time.tzinfo is None:
            raise ValueError
        # In whole seconds: a float would do for milliseconds, but need not be trusted to.
        return int(time.timestamp()) * 1000
    except (ValueError, OverflowError):
        problems.append(
            f"{where}.effective_time: must be a time with its zone, as 2026-01-31T00:00:00Z, not {value!r}"
        )
        return 0
