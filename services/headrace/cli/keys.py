"""`headrace keys`: tokens for tenants."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from headrace.cli.errors import CliError
from headrace.cli.limits import guard
from headrace.cli.mesh import state_of
from headrace.cli.output import Output
from headrace.local.errors import StartFault
from headrace.local.keys import Issued, KeyRequestError, KeyStore
from headrace.local.statedir import StateDir, prepare
from headrace.runtime.clock import SystemClock

DAY_S = 86_400
EVERYWHERE_S = 5
"""Until when no process takes a revoked token any more."""


def create(state_dir: Path, tenant: str, scopes: list[str], days: float, output: Output) -> None:
    """Issues a token, which is shown this once."""
    state = state_of(state_dir)
    try:
        prepare(state)
        token = KeyStore(state.keys, clock=SystemClock()).issue(tenant, scopes, round(days * DAY_S))
    except StartFault as fault:
        raise CliError(fault.what, fault.why, fault.next_step) from None
    except KeyRequestError as error:
        raise CliError("this key can't be issued", str(error), "see `headrace keys create --help`") from None
    issued = token.issued
    output.document(
        {
            "token": token.text,
            "id": issued.jti,
            "tenant": issued.tenant,
            "scopes": list(issued.scopes),
            "expires_at": _date(issued.expires_at),
        }
    )
    output.text(token.text)
    output.note(
        f"for {issued.tenant}, {' '.join(issued.scopes)}, until {_date(issued.expires_at)}; shown only now"
    )


def show(state_dir: Path, output: Output) -> None:
    """Who got which token; the tokens themselves are kept nowhere."""
    state = state_of(state_dir)
    store = KeyStore(state.keys, clock=SystemClock())
    issued, revoked = (store.issued(), store.revoked()) if state.keys.is_dir() else ([], {})
    now = _now()
    rows: list[dict[str, object]] = [
        {
            "id": key.jti,
            "tenant": key.tenant,
            "scopes": list(key.scopes),
            "issued_at": _date(key.issued_at),
            "expires_at": _date(key.expires_at),
            "expired": key.expires_at <= now,
            "revoked_at": _date(revoked[key.jti]) if key.jti in revoked else None,
        }
        for key in issued
    ]
    output.document({"keys": rows})
    output.table(
        ["id", "tenant", "scopes", "issued", "expires", "revoked"],
        [
            [
                key.jti,
                key.tenant,
                " ".join(key.scopes),
                _date(key.issued_at),
                _date(key.expires_at),
                _date(revoked[key.jti]) if key.jti in revoked else "-",
            ]
            for key in issued
        ],
    )


def revoke(state_dir: Path, jti: str, output: Output) -> None:
    """Lets guard refuse a token everywhere. It is put on record only when guard has taken it."""
    state = state_of(state_dir)
    store = KeyStore(state.keys, clock=SystemClock())
    key = _issued(store, jti, state)
    try:
        asyncio.run(_tell_guard(state, key))
    except CliError as error:
        raise CliError(
            f"nothing was revoked: {error.what}",
            f"{error.why} (only guard can refuse the token, which is good until {_date(key.expires_at)})",
            error.next_step,
        ) from None
    store.revoke(jti)
    output.document({"id": jti, "tenant": key.tenant, "revoked": True, "revoked_at": _date(_now())})
    output.text(f"revoked: {jti} of {key.tenant}; refused everywhere within {EVERYWHERE_S} s")


def _issued(store: KeyStore, jti: str, state: StateDir) -> Issued:
    found = next((key for key in store.issued() if key.jti == jti), None) if state.keys.is_dir() else None
    if found is None:
        raise CliError(
            f"there is no token {jti!r}", f"{state.keys} has no record of it", "see `headrace keys list`"
        )
    if found.expires_at <= _now():
        raise CliError(
            f"{jti} has expired", f"on {_date(found.expires_at)}", "it is refused without more ado"
        )
    return found


async def _tell_guard(state: StateDir, key: Issued) -> None:
    async with guard(state) as client:
        await client.revoke(key.jti, key.expires_at)


def _now() -> int:
    return SystemClock().time_ns() // 1_000_000_000


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
