"""Who may call what."""

import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from headrace.runtime.access import OPEN, Access, TokenVerifier, caller_from_headers
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import ANONYMOUS, Caller

NOW = 1_800_000_000


class Frozen:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def monotonic(self) -> float:
        return 0.0

    def time_ns(self) -> int:
        return self.now * 10**9


def jwks(path: Path, *keys: tuple[str, ec.EllipticCurvePrivateKey]) -> Path:
    algorithm = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
    documents = [
        json.loads(algorithm.to_jwk(key.public_key())) | {"kid": kid, "alg": "ES256", "use": "sig"}
        for kid, key in keys
    ]
    path.write_text(json.dumps({"keys": documents}))
    return path


def token(key: ec.EllipticCurvePrivateKey, kid: str = "a", **claims: object) -> str:
    payload = {
        "iss": "headrace",
        "aud": "headrace",
        "tenant": "t",
        "scope": "infer observe",
        "jti": "j",
        "iat": 1_500_000_000,
        "exp": 4_000_000_000,
    } | claims
    return "Bearer " + jwt.encode(payload, key, algorithm="ES256", headers={"kid": kid})


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def problem(verifier: TokenVerifier, authorization: str) -> str:
    with pytest.raises(HeadraceError) as error:
        verifier.verify(authorization)
    assert error.value.reason == "UNAUTHENTICATED"
    return error.value.metadata["problem"]


def test_a_good_token_names_its_caller(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Tenant, scopes and identifier are the token's."""
    verifier = TokenVerifier(jwks(tmp_path / "k", ("a", key)))
    assert verifier.verify(token(key)) == Caller("t", frozenset({"infer", "observe"}), "j")


def test_bad_tokens_are_refused(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Another key, issuer or audience, an end in the past, a missing claim, no signature."""
    verifier = TokenVerifier(jwks(tmp_path / "k", ("a", key)))
    other = ec.generate_private_key(ec.SECP256R1())
    assert problem(verifier, token(other)) == "invalid"
    assert problem(verifier, token(key, kid="b")) == "invalid"
    assert problem(verifier, token(key, iss="x")) == "invalid"
    assert problem(verifier, token(key, aud="x")) == "invalid"
    assert problem(verifier, token(key, exp=1_600_000_000)) == "expired"
    assert problem(verifier, "Bearer ") == "invalid"
    assert problem(verifier, "Basic abc") == "scheme"
    unsigned = jwt.encode({"tenant": "t"}, None, algorithm="none", headers={"kid": "a"})  # type: ignore[arg-type]  # "none" has no key
    assert problem(verifier, f"Bearer {unsigned}") == "invalid"


def test_a_remembered_token_still_ends(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Having been verified once does not outlive the token's end."""
    clock = Frozen()
    verifier = TokenVerifier(jwks(tmp_path / "k", ("a", key)), clock)
    short = token(key, exp=NOW + 10)
    verifier.verify(short)
    clock.now = NOW + 10
    assert problem(verifier, short) == "expired"


def test_keys_are_reread_when_the_file_changes(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """A new key is taken, and a removed one no longer verifies, remembered or not."""
    path = jwks(tmp_path / "k", ("a", key))
    verifier = TokenVerifier(path)
    verifier.verify(token(key))
    other = ec.generate_private_key(ec.SECP256R1())
    jwks(path, ("b", other))
    assert verifier.verify(token(other, kid="b")).tenant == "t"
    assert problem(verifier, token(key)) == "invalid"


def test_without_keys_nothing_is_verified(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """A missing file closes, it does not open."""
    assert problem(TokenVerifier(tmp_path / "none"), token(key)) == "keys"


def test_the_gateways_headers_name_the_caller() -> None:
    """Scopes are one text, separated by spaces."""
    caller = caller_from_headers(
        [("x-tenant-id", "t"), ("x-headrace-scopes", "infer observe"), ("x-headrace-token-id", "j")]
    )
    assert caller == Caller("t", frozenset({"infer", "observe"}), "j")


@pytest.mark.parametrize("name", ["x-tenant-id", "x-headrace-scopes", "x-headrace-token-id"])
def test_a_doubled_identity_header_is_refused(name: str) -> None:
    """Of two values one is somebody else's."""
    headers = [
        ("x-tenant-id", "t"),
        ("x-headrace-scopes", "infer"),
        ("x-headrace-token-id", "j"),
        (name, "v"),
    ]
    with pytest.raises(HeadraceError) as error:
        caller_from_headers(headers)
    assert (error.value.reason, error.value.metadata["header"]) == ("HEADER_INVALID", name)


def test_no_tenant_is_nobody() -> None:
    """Scopes alone identify no one."""
    with pytest.raises(HeadraceError, match="UNAUTHENTICATED"):
        caller_from_headers([("x-headrace-scopes", "infer operate")])


def test_what_the_table_lacks_is_denied() -> None:
    """Default deny, for every scope there is."""
    access = Access({"/a": "infer", "/open": OPEN})
    everything = Caller("t", frozenset({"infer", "observe", "operate", ""}))
    access.check("/a", everything)
    access.check("/open", ANONYMOUS)
    with pytest.raises(HeadraceError, match="SCOPE_MISSING"):
        access.check("/b", everything)
    with pytest.raises(HeadraceError, match="SCOPE_MISSING"):
        access.check("/a", Caller("t", frozenset({"observe"})))
    with pytest.raises(HeadraceError, match="UNAUTHENTICATED"):
        access.check("/a", ANONYMOUS)
