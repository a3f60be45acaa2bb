"""API keys: what a token says, who can verify it, what is kept."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest

from headrace.local.keys import (
    Issued,
    KeyRequestError,
    KeyStore,
    check_request,
    issued_of,
    keys_of,
    line_of,
    still_needed,
)
from headrace.local.statedir import StateDir, prepare
from headrace.local.tokens import ensure_tokens
from headrace.runtime.access import TokenVerifier
from headrace.runtime.clock import SystemClock
from headrace.runtime.errors import HeadraceError

HOUR = 3600


@dataclass
class WallClock:
    """The wall clock at a time that a test sets."""

    now_s: int

    def monotonic(self) -> float:
        return float(self.now_s)

    def time_ns(self) -> int:
        return self.now_s * 1_000_000_000


@pytest.fixture
def clock() -> WallClock:
    return WallClock(SystemClock().time_ns() // 1_000_000_000)


@pytest.fixture
def store(tmp_path: Path, clock: WallClock) -> KeyStore:
    return KeyStore(tmp_path / "keys", clock=clock)


def verify(store: KeyStore, text: str) -> str:
    """The tenant, as a service finds it."""
    return TokenVerifier(store.jwks_path).verify(f"Bearer {text}").tenant


def test_a_service_verifies_what_the_store_signs(store: KeyStore) -> None:
    """Tenant, scopes and id arrive; the public set is all that is needed."""
    token = store.issue("acme", ["observe", "infer", "infer"], HOUR)
    caller = TokenVerifier(store.jwks_path).verify(f"Bearer {token.text}")
    assert (caller.tenant, caller.scopes) == ("acme", frozenset({"infer", "observe"}))
    assert caller.token_id == token.issued.jti


def test_the_token_has_the_claims_that_the_gateway_copies(store: KeyStore, clock: WallClock) -> None:
    """The scopes are one text in one order: Envoy copies no list into a header."""
    token = store.issue("acme", ["operate", "infer"], HOUR)
    claims = jwt.decode(token.text, options={"verify_signature": False})
    assert claims == {
        "iss": "headrace",
        "aud": "headrace",
        "tenant": "acme",
        "scope": "infer operate",
        "jti": token.issued.jti,
        "iat": clock.now_s,
        "exp": clock.now_s + HOUR,
    }
    header = jwt.get_unverified_header(token.text)
    assert (header["alg"], header["kid"]) == ("ES256", keys_of(store.jwks())[0]["kid"])


def test_nobody_else_reads_a_private_key(store: KeyStore) -> None:
    """0600 in a 0700 directory; the public set has no private half and may be read."""
    store.issue("acme", ["infer"], HOUR)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in store.jwks_path.parent.iterdir()}
    (private,) = [name for name in modes if name.endswith(".pem")]
    assert (modes[private], modes["issued.jsonl"], modes["jwks.json"]) == (0o600, 0o600, 0o644)
    assert stat.S_IMODE(store.jwks_path.parent.stat().st_mode) == 0o700
    for key in keys_of(store.jwks()):
        assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}


def test_the_record_names_the_holder_but_never_the_token(store: KeyStore) -> None:
    """Whoever reads issued.jsonl can't call anybody."""
    token = store.issue("acme", ["infer"], HOUR)
    assert store.issued() == [token.issued]
    record = (store.jwks_path.parent / "issued.jsonl").read_text()
    assert "acme" in record
    assert token.text not in record
    assert token.text.rpartition(".")[2] not in record
    assert token.text not in repr(token)


def test_the_keys_outlive_the_process(store: KeyStore, clock: WallClock) -> None:
    """A second store on the directory signs with the same key and knows the same tokens."""
    first = store.issue("acme", ["infer"], HOUR)
    again = KeyStore(store.jwks_path.parent, clock=clock)
    second = again.issue("acme", ["infer"], HOUR)
    assert first.issued.kid == second.issued.kid
    assert again.issued() == [first.issued, second.issued]
    assert first.issued.jti != second.issued.jti


def test_a_rotation_keeps_the_tokens_of_before(store: KeyStore) -> None:
    """The new key signs, both verify, and the old private half is gone."""
    before = store.issue("acme", ["infer"], HOUR)
    kid = store.rotate()
    after = store.issue("other", ["infer"], HOUR)
    assert after.issued.kid == kid != before.issued.kid
    assert [verify(store, token.text) for token in (before, after)] == ["acme", "other"]
    assert [path.stem for path in store.jwks_path.parent.glob("*.pem")] == [kid]


def test_a_key_that_no_token_needs_leaves_at_the_next_rotation(store: KeyStore, clock: WallClock) -> None:
    """Its tokens have expired, so the set does not grow for ever."""
    old = store.issue("acme", ["infer"], HOUR)
    store.rotate()
    clock.now_s += HOUR + 1
    store.rotate()
    assert old.issued.kid not in [key["kid"] for key in keys_of(store.jwks())]
    with pytest.raises(HeadraceError):
        verify(store, old.text)


def test_two_processes_make_one_key(tmp_path: Path, clock: WallClock) -> None:
    """First use at the same time: the lock lets one make it, the others find it."""
    stores = [KeyStore(tmp_path / "keys", clock=clock) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda store: store.issue("acme", ["infer"], HOUR), stores))
    assert len({token.issued.kid for token in tokens}) == 1
    assert len(stores[0].issued()) == 8
    assert len(list((tmp_path / "keys").glob("*.pem"))) == 1


def test_another_machines_key_is_not_ours(store: KeyStore, tmp_path: Path, clock: WallClock) -> None:
    """A token of a store elsewhere is refused."""
    store.jwks()
    stranger = KeyStore(tmp_path / "elsewhere", clock=clock).issue("acme", ["operate"], HOUR)
    with pytest.raises(HeadraceError):
        verify(store, stranger.text)


@pytest.mark.parametrize(
    "tenant", ["", "A", "a b", "a\r\nx-tenant-id: b", "a,b", "-a", "a-", "a" * 64, "ä", "../a", "a/b", "a\0"]
)
def test_a_tenant_is_a_plain_name(tenant: str) -> None:
    """It becomes a header's value: nothing that could end or split one."""
    with pytest.raises(KeyRequestError, match="tenant"):
        check_request(tenant, ["infer"], HOUR)


@pytest.mark.parametrize("tenant", ["a", "acme", "acme-2", "a.b_c", "0", "a" * 63])
def test_plain_names_are_taken(tenant: str) -> None:
    """Letters, digits, and three marks between them."""
    assert check_request(tenant, ["infer"], HOUR) == ("infer",)


@pytest.mark.parametrize("scopes", [[], ["admin"], ["infer", "infer operate"], [""]])
def test_only_known_scopes_are_granted(scopes: list[str]) -> None:
    """A typo is an error, not a token that can do nothing."""
    with pytest.raises(KeyRequestError, match="scopes"):
        check_request("acme", scopes, HOUR)


@pytest.mark.parametrize("lifetime_s", [0, -1, 10**10])
def test_a_token_ends(lifetime_s: int) -> None:
    """Neither at once nor never."""
    with pytest.raises(KeyRequestError, match="lifetime"):
        check_request("acme", ["infer"], lifetime_s)


def test_a_refused_request_leaves_no_trace(store: KeyStore) -> None:
    """What is not issued is not on record."""
    with pytest.raises(KeyRequestError):
        store.issue("ACME", ["infer"], HOUR)
    assert store.issued() == []


def test_a_line_of_the_record_reads_back() -> None:
    """The record's form is JSON, one line a token."""
    issued = Issued("j", "acme", ("infer", "observe"), 1, 2, "k")
    assert issued_of(line_of(issued)) == issued
    assert "\n" not in line_of(issued)
    assert json.loads(line_of(issued))["scopes"] == ["infer", "observe"]


def test_a_key_is_needed_until_its_last_token_expires() -> None:
    """To the second: an expired token needs nothing."""
    keys = [{"kid": "a"}, {"kid": "b"}]
    issued = [
        Issued("1", "t", (), 0, 10, "a"),
        Issued("2", "t", (), 0, 20, "b"),
        Issued("3", "t", (), 0, 15, "a"),
    ]
    assert [key["kid"] for key in still_needed(keys, issued, 14)] == ["a", "b"]
    assert [key["kid"] for key in still_needed(keys, issued, 15)] == ["b"]
    assert still_needed(keys, issued, 20) == ()


def test_revoked(store: KeyStore, clock: WallClock) -> None:
    """A revocation is on record with its time, beside the token, which stays listed."""
    kept, gone = store.issue("a", ["infer"], HOUR).issued, store.issue("b", ["infer"], HOUR).issued
    clock.now_s += 60
    store.revoke(gone.jti)
    assert store.revoked() == {gone.jti: clock.now_s}
    assert store.issued() == [kept, gone]


def test_a_revoked_token_of_up_is_renewed(tmp_path: Path, clock: WallClock) -> None:
    """The operator's token is made anew when somebody revoked it, or nobody could operate the mesh."""
    state = StateDir(tmp_path / "s")
    prepare(state)
    store = KeyStore(state.keys, clock=clock)
    ensure_tokens(state, store, clock)
    before = state.operator_token.read_text()
    ensure_tokens(state, store, clock)
    assert state.operator_token.read_text() == before
    store.revoke(store.issued()[0].jti)
    ensure_tokens(state, store, clock)
    assert state.operator_token.read_text() != before
