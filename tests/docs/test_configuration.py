"""docs/configuration.md says what is so."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from headrace.local.config.reading import parse
from headrace.local.config.schema import Config
from headrace.metering.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "configuration.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_good(block: str) -> None:
    """Every example can be used as it stands."""
    parse(block.encode(), "docs/configuration.md")


def test_defaults() -> None:
    """The first example has every key that has a default, and its default."""
    assert parse(BLOCKS[0].encode(), "f") == Config()
    assert set(keys(Config())) - set(keys(msgspec.yaml.decode(BLOCKS[0]))) == set()


def test_prices() -> None:
    """The book that is shown is the one that holds without any."""
    book = msgspec.to_builtins(parse(BLOCKS[-1].encode(), "f").metering.prices)
    shown = Settings.read({"HEADRACE_METERING_PRICES": json.dumps(book)}).prices
    assert shown.all == Settings.read({}).prices.all


def keys(value: object, above: str = "") -> list[str]:
    """The paths of all keys that say something."""
    values = msgspec.to_builtins(value)
    if not isinstance(values, dict) or not values:
        return [above]
    return [key for name, inner in values.items() for key in keys(inner, f"{above}.{name}")]
