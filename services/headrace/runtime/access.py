"""Who may call what: identity from the gateway or from a token, scopes per method.

Default deny: a method that the table does not name is refused to everybody.
"""

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import jwt
from jwt import PyJWKSet

from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.revocation import NO_REVOCATIONS, Revocations
from headrace.runtime.rpc import Caller

OPEN = ""
"""The scope of a method that needs no token."""

INFER, OBSERVE, OPERATE = "infer", "observe", "operate"

TENANT_HEADER = "x-tenant-id"
SCOPES_HEADER = "x-headrace-scopes"
TOKEN_ID_HEADER = "x-headrace-token-id"  # noqa: S105  # a header's name
ISSUER = AUDIENCE = "headrace"
ALGORITHM = "ES256"

MAX_TOKENS_REMEMBERED = 1024
_PREFIX = "bearer "


class Access:
    """A table from full method path to the scope that it needs, and the tokens that are revoked."""

    def __init__(self, scopes: Mapping[str, str], revocations: Revocations = NO_REVOCATIONS) -> None:
        self._scopes = dict(scopes)
        self._revocations = revocations

    def is_open(self, path: str) -> bool:
        """Whether anybody may call `path`, with no token."""
        return self._scopes.get(path) == OPEN

    def check(self, path: str, caller: Caller) -> None:
        """Raises SCOPE_MISSING, or UNAUTHENTICATED for a caller without a name.

        A revoked token is TOKEN_REVOKED whatever its scopes, and what administers
        is REVOCATIONS_UNKNOWN while nobody can tell which tokens are.
        """
        scope = self._scopes.get(path)
        if scope == OPEN:
            return
        self._revocations.check(caller, strict=scope == OPERATE)
        if scope in caller.scopes and caller.tenant:
            return
        if not caller.tenant:
            raise unauthenticated("no bearer token", "missing")
        raise HeadraceError(
            "SCOPE_MISSING",
            f"the token's scopes do not allow {path}",
            {"method": path, "scope": scope or "none"},
        )


def caller_from_headers(headers: Iterable[tuple[str, str]]) -> Caller:
    """The caller whom the gateway verified.

    Raises UNAUTHENTICATED without a tenant, HEADER_INVALID when an identity
    header occurs twice: of two values one is somebody else's.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        if name in (TENANT_HEADER, SCOPES_HEADER, TOKEN_ID_HEADER):
            if name in found:
                raise HeadraceError("HEADER_INVALID", f"header {name} occurs twice", {"header": name})
            found[name] = value
    tenant = found.get(TENANT_HEADER, "")
    if not tenant:
        raise unauthenticated("no tenant", "missing")
    return Caller(
        tenant,
        frozenset(found.get(SCOPES_HEADER, "").split()),
        found.get(TOKEN_ID_HEADER, ""),
    )


class TokenVerifier:
    """Verifies bearer tokens by the public keys in a JWKS file.

    The file is read again when it changes. Verified tokens are remembered, at
    most `MAX_TOKENS_REMEMBERED` of them, until they expire.
    """

    def __init__(self, jwks: Path, clock: Clock | None = None) -> None:
        self._path = jwks
        self._clock = clock or SystemClock()
        self._stamp = -1
        self._keys: PyJWKSet | None = None
        self._known: dict[str, tuple[Caller, float]] = {}
        self._lock = threading.Lock()

    def verify(self, authorization: str) -> Caller:
        """The caller of a header `Bearer …`; raises UNAUTHENTICATED."""
        if authorization[: len(_PREFIX)].lower() != _PREFIX:
            raise unauthenticated("the authorization header holds no bearer token", "scheme")
        token = authorization[len(_PREFIX) :].strip()
        with self._lock:
            self._reread()
            caller, expires_s = self._known.get(token) or self._remember(token, self._decode(token))
        if expires_s * 1e9 <= self._clock.time_ns():
            raise unauthenticated("the token has expired", "expired")
        return caller

    def _decode(self, token: str) -> tuple[Caller, float]:
        try:
            key = self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                # The end is checked in `verify`, for remembered tokens too.
                options={"require": ["exp", "iat", "jti", "tenant", "scope"], "verify_exp": False},
            )
            expires_s = float(claims["exp"])
        except (jwt.PyJWTError, TypeError, ValueError):
            raise unauthenticated("the token can't be verified", "invalid") from None
        caller = Caller(str(claims["tenant"]), frozenset(str(claims["scope"]).split()), str(claims["jti"]))
        return caller, expires_s

    def _remember(self, token: str, entry: tuple[Caller, float]) -> tuple[Caller, float]:
        if len(self._known) >= MAX_TOKENS_REMEMBERED:
            self._known.pop(next(iter(self._known)))
        self._known[token] = entry
        return entry

    def _key(self, kid: object) -> jwt.PyJWK:
        for key in self._keys.keys if self._keys else ():
            if key.key_id == kid:
                return key
        raise jwt.InvalidTokenError("unknown key")

    def _reread(self) -> None:
        try:
            stamp = self._path.stat().st_mtime_ns
            if stamp != self._stamp:
                self._keys = PyJWKSet.from_json(self._path.read_text())
                self._known.clear()
                self._stamp = stamp
        except (OSError, jwt.PyJWKSetError, ValueError):
            if self._keys is None:  # closed: without keys nothing is verified
                raise unauthenticated("no token can be verified now", "keys") from None


def unauthenticated(message: str, problem: str) -> HeadraceError:
    """The error of a call whose caller is not known."""
    return HeadraceError("UNAUTHENTICATED", message, {"problem": problem})
