"""Settings of metering."""

import pytest

from headrace.metering.core.prices import DEFAULT_BOOK
from headrace.metering.settings import Settings
from headrace.runtime.settings import SettingsError


def test_everything_has_a_default() -> None:
    """With nothing set, the specification's prices hold."""
    assert Settings.read({}).prices.all == (DEFAULT_BOOK,)


def test_prices_are_read_as_they_are_written() -> None:
    """A JSON number is its digits, never a float: 0.1 is a tenth."""
    text = '[{"version": 2, "effective_time": "2026-01-01T00:00:00Z", "cpu_hour": 0.1, "gpu_hour": "1.000000001"}]'
    (book,) = Settings.read({"HEADRACE_METERING_PRICES": text}).prices.all
    assert (book.version, book.cpu_hour, book.gpu_hour) == (2, 100_000_000, 1_000_000_001)


def test_every_mistake_is_told_at_once() -> None:
    """A start with four mistakes names four."""
    with pytest.raises(SettingsError) as error:
        Settings.read(
            {
                "HEADRACE_METERING_PRICES": '[{"version": 1, "effective_time": "now", "api_call": -1}]',
                "HEADRACE_METERING_DRAIN_GRACE_S": "soon",
                "HEADRACE_METERING_LEDGR": "x",
            }
        )
    assert len(error.value.problems) == 4


@pytest.mark.parametrize("text", ["{", "{}", "[1]", "[]", "[" * 100_000])
def test_prices_must_be_a_list_of_books(text: str) -> None:
    """Anything else is a mistake, not the default."""
    with pytest.raises(SettingsError, match="PRICES"):
        Settings.read({"HEADRACE_METERING_PRICES": text})
