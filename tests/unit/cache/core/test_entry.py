"""Stored entries: what was put comes back, and nothing else does."""

import pickle  # made here, to show that nobody reads it
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cache.core.entry import CLOCK_SLACK_MS, OVERHEAD_BYTES, EntryRefused, Names, Opened, Seal
from tests.fakes.cache import SECRET

KEY, OTHER = bytes(32), bytes(31) + b"\x01"
HOUR_MS = 3_600_000
SEAL = Seal(SECRET, HOUR_MS)
NOW = 1_800_000_000_000


def sealed(value: bytes = b"answer", key: bytes = KEY, life_ms: int = HOUR_MS) -> bytes:
    return SEAL.sealed(key, value, NOW, life_ms)


@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32), st.integers(1, HOUR_MS))
def test_what_was_put_comes_back(value: bytes, key: bytes, life_ms: int) -> None:
    """Also nothing at all, with what is left of its life."""
    stored = SEAL.sealed(key, value, NOW, life_ms)
    assert len(stored) == OVERHEAD_BYTES + len(value)
    assert SEAL.opened(key, stored, NOW) == Opened(value, life_ms)


def test_every_flipped_byte_of_a_hundred_entries_is_found() -> None:
    """Promise 11: 0 accepted of all damages of one byte."""
    accepted = 0
    for number in range(100):
        key = number.to_bytes(32, "little")
        stored = SEAL.sealed(key, bytes([number]) * (number % 17), NOW, HOUR_MS)
        for place in range(len(stored)):
            damaged = bytearray(stored)
            damaged[place] ^= 1 << number % 8
            try:
                accepted += SEAL.opened(key, bytes(damaged), NOW) is not None
            except EntryRefused:
                continue
    assert accepted == 0


@given(st.binary(max_size=200))
def test_what_nobody_sealed_is_refused(stored: bytes) -> None:
    """Whatever bytes stand in the store."""
    with pytest.raises(EntryRefused):
        SEAL.opened(KEY, stored, NOW)


def test_a_pickle_is_inert(tmp_path: Path) -> None:
    """As the entry itself it is refused; as the value of a sealed entry it comes back as bytes, unread."""

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "executed",)

    payload = pickle.dumps(Hostile())
    with pytest.raises(EntryRefused):
        SEAL.opened(KEY, payload, NOW)
    opened = SEAL.opened(KEY, sealed(payload), NOW)
    assert opened is not None
    assert opened.value == payload
    assert not (tmp_path / "executed").exists()


def test_an_entry_is_bound_to_its_key() -> None:
    """Moved to another key it is another's, whole and well sealed as it is."""
    with pytest.raises(EntryRefused, match="another key's"):
        SEAL.opened(OTHER, sealed(), NOW)


def test_who_lacks_the_secret_can_seal_nothing() -> None:
    """Not even with a secret of their own, nor with a checksum that needs none."""
    with pytest.raises(EntryRefused, match="checksum"):
        SEAL.opened(KEY, Seal(bytes(32), HOUR_MS).sealed(KEY, b"x", NOW, 1000), NOW)


@pytest.mark.parametrize(("place", "value"), [(0, ord("X")), (4, 2), (4, 0), (5, 1), (5, 255)])
def test_another_form_is_refused(place: int, value: int) -> None:
    """Another magic, version or codec, before anything is believed: no codec means nothing to inflate."""
    stored = bytearray(sealed())
    stored[place] = value
    with pytest.raises(EntryRefused, match="another form"):
        SEAL.opened(KEY, bytes(stored), NOW)


@pytest.mark.parametrize("cut", [0, 1, OVERHEAD_BYTES - 1, OVERHEAD_BYTES])
def test_a_cut_entry_is_refused(cut: int) -> None:
    """Wherever it was cut."""
    with pytest.raises(EntryRefused):
        SEAL.opened(KEY, sealed()[:cut], NOW)


def test_an_entry_ends() -> None:
    """At its end on the wall clock, wherever it is read."""
    stored = sealed(life_ms=1000)
    assert SEAL.opened(KEY, stored, NOW + 999) == Opened(b"answer", 1)
    assert SEAL.opened(KEY, stored, NOW + 1000) is None


def test_a_clock_that_is_set_back_prolongs_no_life() -> None:
    """A little is cut to the longest life; more than that, and the entry is refused."""
    stored = sealed()
    assert SEAL.opened(KEY, stored, NOW - CLOCK_SLACK_MS) == Opened(b"answer", HOUR_MS)
    with pytest.raises(EntryRefused, match="too long a life"):
        SEAL.opened(KEY, stored, NOW - CLOCK_SLACK_MS - 1)


def test_names_tell_nobody_whose_entry_it_is() -> None:
    """Neither tenant nor model can be read, and what a glob would take as its own can't be in them."""
    names = Names(SECRET)
    name = names.name("acme*", "linear", KEY)
    assert name.startswith("headrace:cache:1:")
    assert "acme" not in name
    assert "linear" not in name
    assert name != names.name("acme", "linear", KEY)
    assert names.name("a", "b", KEY) != names.name("b", "a", KEY)
    assert name != Names(bytes(32)).name("acme*", "linear", KEY)
