"""`headrace keys`: tokens for tenants."""

from datetime import UTC, datetime
from pathlib import Path

from headrace.cli.errors import CliError
from headrace.cli.mesh import state_of
from headrace.cli.output import Output
from headrace.local.errors import StartFault
from headrace.local.keys import KeyRequestError, KeyStore
from headrace.local.statedir import prepare
from headrace.runtime.clock import SystemClock

DAY_S = 86_400


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
    issued = KeyStore(state.keys, clock=SystemClock()).issued() if state.keys.is_dir() else []
    now = SystemClock().time_ns() // 1_000_000_000
    rows: list[dict[str, object]] = [
        {
            "id": key.jti,
            "tenant": key.tenant,
            "scopes": list(key.scopes),
            "issued_at": _date(key.issued_at),
            "expires_at": _date(key.expires_at),
            "expired": key.expires_at <= now,
        }
        for key in issued
    ]
    output.document({"keys": rows})
    output.table(
        ["id", "tenant", "scopes", "issued", "expires"],
        [[k.jti, k.tenant, " ".join(k.scopes), _date(k.issued_at), _date(k.expires_at)] for k in issued],
    )


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
