"""The two tokens that every mesh has: the operator's and the demo tenant's."""

from pathlib import Path

import jwt

from headrace.local.keys import SCOPES, KeyStore
from headrace.local.statedir import StateDir, write_atomically
from headrace.runtime.access import INFER, OBSERVE, TokenVerifier
from headrace.runtime.clock import Clock
from headrace.runtime.errors import HeadraceError

LIFETIME_S = 365 * 86_400
RENEW_BEFORE_S = 7 * 86_400


def ensure_tokens(state: StateDir, keys: KeyStore, clock: Clock) -> None:
    """Writes both files (0600); a token that is valid for a week or more stays as it is."""
    keys.jwks()
    _ensure(state.operator_token, keys, clock, "operator", SCOPES)
    _ensure(state.demo_token, keys, clock, "demo", (INFER, OBSERVE))


def _ensure(path: Path, keys: KeyStore, clock: Clock, tenant: str, scopes: tuple[str, ...]) -> None:
    if not _lasts(path, keys, clock):
        token = keys.issue(tenant, scopes, LIFETIME_S)
        write_atomically(path, token.text.encode() + b"\n")
    path.chmod(0o600)


def _lasts(path: Path, keys: KeyStore, clock: Clock) -> bool:
    """Whether the file's token is ours, not revoked and far from its end."""
    try:
        text = path.read_text().strip()
        TokenVerifier(keys.jwks_path).verify(f"Bearer {text}")
        claims = jwt.decode(text, options={"verify_signature": False})
    except (OSError, UnicodeDecodeError, HeadraceError, jwt.PyJWTError):
        return False
    if claims.get("jti") in keys.revoked():
        return False
    return float(claims["exp"]) - clock.time_ns() / 1e9 > RENEW_BEFORE_S
