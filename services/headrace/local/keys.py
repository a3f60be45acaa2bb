"""API keys: signed tokens, the keys that sign them, and who got one.

A key is a JWT that everybody can verify by the public set (`jwks.json`), so no
call looks anything up. The directory holds `<kid>.pem` (private, 0600),
`jwks.json` (public; its first key is the one that signs) and `issued.jsonl` (who
got which token, never the token itself, and which were revoked). Taking a key out
of the set is no revocation: the gateway remembers the tokens it has verified.
"""

import base64
import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from headrace.runtime.access import ALGORITHM, AUDIENCE, INFER, ISSUER, OBSERVE, OPERATE
from headrace.runtime.clock import Clock

SCOPES = (INFER, OBSERVE, OPERATE)
TENANT_PATTERN = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
RECORD = "issued.jsonl"
MAX_LIFETIME_S = 10 * 365 * 86_400

Jwk = Mapping[str, str]
"""A public key as a JWKS holds it."""


class KeyRequestError(ValueError):
    """A key that can't be issued as asked; the text says why."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What is kept of a token: to whom, for what, until when, signed by which key."""

    jti: str
    tenant: str
    scopes: tuple[str, ...]
    issued_at: int
    expires_at: int
    kid: str


@dataclass(frozen=True, slots=True)
class Token:
    """A token, to be shown once, and what is kept of it."""

    text: str = field(repr=False)
    issued: Issued


class KeyStore:
    """The keys in a directory, made on first use; processes may share it."""

    def __init__(self, directory: Path, *, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    @property
    def jwks_path(self) -> Path:
        """The public set, for whoever verifies tokens."""
        return self._directory / "jwks.json"

    def jwks(self) -> bytes:
        """The public set, as it is served."""
        with self._locked():
            self._keys()
            return self.jwks_path.read_bytes()

    def issue(self, tenant: str, scopes: Sequence[str], lifetime_s: int) -> Token:
        """A new token. It is on record before it is returned."""
        checked = check_request(tenant, scopes, lifetime_s)
        with self._locked():
            kid = self._keys()[0]["kid"]
            now = self._now()
            issued = Issued(secrets.token_hex(12), tenant, checked, now, now + lifetime_s, kid)
            _append(self._directory / RECORD, line_of(issued))
            private = self._private_file(kid).read_bytes()
        text = jwt.encode(claims_of(issued), private, algorithm=ALGORITHM, headers={"kid": kid})
        return Token(text, issued)

    def issued(self) -> list[Issued]:
        """Every token that was issued, oldest first."""
        with self._locked():
            return self._issued()

    def revoke(self, jti: str) -> None:
        """Puts on record that a token was revoked; it is guard that refuses it."""
        with self._locked():
            line = json.dumps({"revoked": jti, "revoked_at": self._now()})
            _append(self._directory / RECORD, line)

    def revoked(self) -> dict[str, int]:
        """When each revoked token was, in seconds since 1970."""
        with self._locked():
            entries = [json.loads(line) for line in self._lines() if _revokes(line)]
        return {entry["revoked"]: entry["revoked_at"] for entry in entries}

    def rotate(self) -> str:
        """A new signing key, whose id is returned.

        The old one signs no more, but verifies on until the last token that it
        signed has expired; a later rotation takes it out of the set.
        """
        with self._locked():
            before = self._keys()
            kept = still_needed(before, self._issued(), self._now())
            kid = self._new_key(kept)
            for key in before:
                self._private_file(key["kid"]).unlink(missing_ok=True)
            return kid

    def _keys(self) -> Sequence[Jwk]:
        try:
            return keys_of(self.jwks_path.read_bytes())
        except FileNotFoundError:
            self._new_key(())
            return keys_of(self.jwks_path.read_bytes())

    def _new_key(self, others: Sequence[Jwk]) -> str:
        """The private half is on disk before anybody is told the public one."""
        private = ec.generate_private_key(ec.SECP256R1())
        key = jwk_of(private.public_key())
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _replace(self._private_file(key["kid"]), pem, 0o600)
        _replace(self.jwks_path, jwks_document((key, *others)), 0o644)
        return key["kid"]

    def _issued(self) -> list[Issued]:
        return [issued_of(line) for line in self._lines() if not _revokes(line)]

    def _lines(self) -> list[str]:
        try:
            return (self._directory / RECORD).read_text().splitlines()
        except FileNotFoundError:
            return []

    def _private_file(self, kid: str) -> Path:
        return self._directory / f"{kid}.pem"

    def _now(self) -> int:
        return self._clock.time_ns() // 1_000_000_000

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def check_request(tenant: str, scopes: Sequence[str], lifetime_s: int) -> tuple[str, ...]:
    """The scopes, each once and in order; raises `KeyRequestError`."""
    if not TENANT_PATTERN.fullmatch(tenant):
        raise KeyRequestError(
            f"tenant {tenant!r}: 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning and ending with"
            " a letter or a digit"
        )
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise KeyRequestError(f"scopes {', '.join(unknown) or '(none)'}: choose from {', '.join(SCOPES)}")
    if not 1 <= lifetime_s <= MAX_LIFETIME_S:
        raise KeyRequestError(f"lifetime {lifetime_s} s: must be between 1 and {MAX_LIFETIME_S}")
    return tuple(scope for scope in SCOPES if scope in scopes)


def claims_of(issued: Issued) -> dict[str, str | int]:
    """What the token says. The scopes are one text: Envoy copies no lists to headers."""
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "tenant": issued.tenant,
        "scope": " ".join(issued.scopes),
        "jti": issued.jti,
        "iat": issued.issued_at,
        "exp": issued.expires_at,
    }


def jwk_of(key: ec.EllipticCurvePublicKey) -> Jwk:
    """The key as a JWK; its id is the thumbprint of RFC 7638, so equal keys are one."""
    numbers = key.public_numbers()
    required = {"crv": "P-256", "kty": "EC", "x": _coordinate(numbers.x), "y": _coordinate(numbers.y)}
    canonical = json.dumps(required, sort_keys=True, separators=(",", ":")).encode()
    kid = _base64url(hashlib.sha256(canonical).digest())
    return {**required, "kid": kid, "alg": ALGORITHM, "use": "sig"}


def jwks_document(keys: Sequence[Jwk]) -> bytes:
    """A JWKS; the order of the keys is kept."""
    return json.dumps({"keys": [dict(key) for key in keys]}, indent=1).encode() + b"\n"


def keys_of(document: bytes) -> Sequence[Jwk]:
    """The keys of a JWKS that this module wrote."""
    keys: list[Jwk] = json.loads(document)["keys"]
    return keys


def still_needed(keys: Sequence[Jwk], issued: Sequence[Issued], now: int) -> tuple[Jwk, ...]:
    """The keys that some token, not yet expired, needs in order to be verified."""
    needed = {token.kid for token in issued if token.expires_at > now}
    return tuple(key for key in keys if key["kid"] in needed)


def line_of(issued: Issued) -> str:
    """A line of the record."""
    return json.dumps(asdict(issued))


def issued_of(line: str) -> Issued:
    """What `line_of` made a line of."""
    values = json.loads(line)
    return Issued(**{**values, "scopes": tuple(values["scopes"])})


def _revokes(line: str) -> bool:
    return "revoked" in json.loads(line)


def _coordinate(value: int) -> str:
    return _base64url(value.to_bytes(32, "big"))


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _append(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, content: bytes, mode: int) -> None:
    """The file, whole or not at all, never readable to more than `mode` allows."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
