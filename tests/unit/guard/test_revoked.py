"""The list of revoked tokens at the guard."""

import pytest

from headrace.guard.revoked import RevokedList
from headrace.runtime.errors import HeadraceError
from tests.fakes.guard import HandClock, RememberingStore


async def test_it_is_stored_before_anybody_is_told() -> None:
    """Then to everybody, whole."""
    store, told = RememberingStore(), list[tuple[str, ...]]()
    revoked = RevokedList(
        store, {"old": 5000}, HandClock(1000.0), lambda ids: told.append((*ids, str(len(store.saved))))
    )
    assert await revoked.add("new", 4000) == 4000
    assert store.saved == [{"old": 5000, "new": 4000}]
    assert told == [("new", "old", "1")]


async def test_what_can_not_be_stored_is_not_revoked() -> None:
    """A revocation that a restart would undo is none: STORE_FAILED, and nobody is told."""
    store, told = RememberingStore(), list[tuple[str, ...]]()
    store.broken = True
    revoked = RevokedList(store, {}, HandClock(), told.append)
    with pytest.raises(HeadraceError) as raised:
        await revoked.add("t", 5000)
    assert raised.value.reason == "STORE_FAILED"
    assert raised.value.retry_after_s == 1.0
    assert (revoked.tokens, told) == ((), [])


async def test_what_has_expired_is_forgotten() -> None:
    """The token is refused for that by everybody anyway."""
    clock, store = HandClock(1000.0), RememberingStore()
    revoked = RevokedList(store, {"a": 999, "b": 1500, "c": 3000}, clock, lambda _: None)
    assert list(revoked.ids) == ["b", "c"]
    clock.pass_by(500.0)
    assert list(revoked.ids) == ["c"]
    await revoked.add("d", 4000)
    assert store.saved == [{"c": 3000, "d": 4000}]


async def test_revoking_again_is_no_error() -> None:
    """The later expiry holds: an earlier one would let the token in again."""
    revoked = RevokedList(RememberingStore(), {}, HandClock(1000.0), lambda _: None)
    assert await revoked.add("t", 5000) == 5000
    assert await revoked.add("t", 2000) == 5000
    assert await revoked.add("t", 6000) == 6000
    assert revoked.tokens == (("t", 6000),)
