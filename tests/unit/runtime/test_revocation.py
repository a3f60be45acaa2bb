"""Which tokens are refused although they have not expired."""

import pytest

from headrace.runtime.access import INFER, OBSERVE, OPEN, OPERATE, Access
from headrace.runtime.errors import HeadraceError
from headrace.runtime.revocation import NO_REVOCATIONS, RevokedTokens
from headrace.runtime.rpc import ANONYMOUS, Caller
from tests.fakes.guard import HandClock

MINE = Caller("acme", frozenset({INFER, OPERATE}), "mine")
OTHER = Caller("acme", frozenset({INFER, OPERATE}), "other")
PEER = Caller("local", frozenset({OPERATE}))


def reason(tokens: RevokedTokens, caller: Caller, *, strict: bool = False) -> str:
    """Why the caller is refused; empty when it is not."""
    try:
        tokens.check(caller, strict=strict)
    except HeadraceError as refusal:
        return refusal.reason
    return ""


def test_the_newest_list_is_what_holds() -> None:
    """Whoever is on it is refused, and not any more when it is gone from it (it has expired)."""
    tokens = RevokedTokens(HandClock())
    tokens.replace(["mine"])
    assert (reason(tokens, MINE), reason(tokens, OTHER)) == ("TOKEN_REVOKED", "")
    tokens.replace([])
    assert reason(tokens, MINE) == ""


def test_the_refusal_names_the_token() -> None:
    """By its identifier, which is no secret."""
    tokens = RevokedTokens(HandClock())
    tokens.replace(["mine"])
    with pytest.raises(HeadraceError) as raised:
        tokens.check(MINE, strict=False)
    assert dict(raised.value.metadata) == {"token_id": "mine"}


def test_while_the_list_is_lost_administration_fails_closed() -> None:
    """At once and as long as it is; with a time to retry."""
    clock = HandClock()
    tokens = RevokedTokens(clock)
    tokens.replace(["mine"])
    tokens.lose()
    assert reason(tokens, OTHER, strict=True) == "REVOCATIONS_UNKNOWN"
    with pytest.raises(HeadraceError) as raised:
        tokens.check(OTHER, strict=True)
    assert raised.value.retry_after_s == 1.0
    tokens.replace(["mine"])
    assert reason(tokens, OTHER, strict=True) == ""


def test_others_go_on_by_the_last_known_list_for_a_while() -> None:
    """Ten minutes; counted from when it was lost, not from when it last changed."""
    clock = HandClock()
    tokens = RevokedTokens(clock)
    tokens.replace(["mine"])
    clock.pass_by(3600.0)
    tokens.lose()
    clock.pass_by(599.0)
    tokens.lose()  # again and again, as every attempt fails
    assert (reason(tokens, MINE), reason(tokens, OTHER)) == ("TOKEN_REVOKED", "")
    clock.pass_by(1.0)
    assert reason(tokens, OTHER) == "REVOCATIONS_UNKNOWN"
    tokens.replace(["mine"])
    assert reason(tokens, OTHER) == ""


def test_before_the_first_list_it_is_as_if_it_were_lost() -> None:
    """Counted from the start of the process."""
    clock = HandClock()
    tokens = RevokedTokens(clock, 10.0)
    assert (reason(tokens, OTHER), reason(tokens, OTHER, strict=True)) == ("", "REVOCATIONS_UNKNOWN")
    clock.pass_by(10.0)
    assert reason(tokens, OTHER) == "REVOCATIONS_UNKNOWN"


def test_a_staleness_of_zero_is_strict() -> None:
    """Nothing goes on by an old list."""
    tokens = RevokedTokens(HandClock(), 0.0)
    assert reason(tokens, OTHER) == "REVOCATIONS_UNKNOWN"
    tokens.replace([])
    assert reason(tokens, OTHER) == ""
    tokens.lose()
    assert reason(tokens, OTHER) == "REVOCATIONS_UNKNOWN"


def test_a_peer_without_a_token_has_none_that_could_be_revoked() -> None:
    """The trusted peers of a Unix socket: the mesh administers itself without a guard too."""
    assert reason(RevokedTokens(HandClock(), 0.0), PEER, strict=True) == ""


SCOPES = {"/open": OPEN, "/infer": INFER, "/operate": OPERATE, "/observe": OBSERVE}


def outcome(access: Access, path: str, caller: Caller) -> str:
    """Why a call is refused; empty when it is not."""
    try:
        access.check(path, caller)
    except HeadraceError as refusal:
        return refusal.reason
    return ""


def test_access_asks_for_every_method_but_open_ones() -> None:
    """A revoked token is TOKEN_REVOKED also where it lacks the scope, and where there is no such method."""
    tokens = RevokedTokens(HandClock())
    tokens.replace(["mine"])
    access = Access(SCOPES, tokens)
    assert [outcome(access, path, MINE) for path in (*SCOPES, "/unknown")] == ["", *["TOKEN_REVOKED"] * 4]
    assert [outcome(access, path, OTHER) for path in (*SCOPES, "/unknown")] == [
        "",
        "",
        "",
        "SCOPE_MISSING",
        "SCOPE_MISSING",
    ]


def test_access_is_strict_where_the_method_administers() -> None:
    """`operate` fails closed, `infer` goes on."""
    access = Access(SCOPES, RevokedTokens(HandClock()))
    assert (outcome(access, "/infer", OTHER), outcome(access, "/operate", OTHER)) == (
        "",
        "REVOCATIONS_UNKNOWN",
    )


def test_without_a_guard_nothing_changes() -> None:
    """Scopes decide, as they did."""
    access = Access(SCOPES)
    assert [outcome(access, path, MINE) for path in SCOPES] == ["", "", "", "SCOPE_MISSING"]
    assert outcome(access, "/infer", ANONYMOUS) == "UNAUTHENTICATED"
    NO_REVOCATIONS.check(MINE, strict=True)
