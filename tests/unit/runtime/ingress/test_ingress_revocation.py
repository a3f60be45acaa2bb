"""Revoked tokens at the hot ingress."""

from pathlib import Path

from headrace.runtime.revocation import RevokedTokens
from tests.fakes.guard import HandClock
from tests.unit.runtime.ingress.wire import IDENTITY, echo, request, serving

MINE = IDENTITY + "x-headrace-token-id: mine\r\n"
OTHER = IDENTITY + "x-headrace-token-id: other\r\n"


async def test_a_revoked_token_is_refused_from_the_next_request_on(tmp_path: Path) -> None:
    """UNAUTHENTICATED on the connection that it was good on a moment ago; another token of the tenant goes on."""
    tokens = RevokedTokens(HandClock())
    tokens.replace([])
    async with serving(tmp_path, echo, revocations=tokens) as bench:
        client = await bench.client()
        assert (await client.call(request(identity=MINE))).grpc_status == 0
        tokens.replace(["mine"])
        refused = await client.call(request(identity=MINE))
        assert (refused.grpc_status, refused.reason) == (16, "TOKEN_REVOKED")
        assert (await client.call(request(identity=OTHER))).grpc_status == 0


async def test_when_nobody_can_tell_it_goes_on_for_a_while(tmp_path: Path) -> None:
    """Inference by the last known list for as long as that may be; then UNAVAILABLE, not to be tried again at once."""
    clock = HandClock()
    tokens = RevokedTokens(clock, 10.0)
    tokens.replace(["mine"])
    tokens.lose()
    async with serving(tmp_path, echo, revocations=tokens) as bench:
        client = await bench.client()
        assert (await client.call(request(identity=OTHER))).grpc_status == 0
        assert (await client.call(request(identity=MINE))).reason == "TOKEN_REVOKED"
        clock.pass_by(10.0)
        refused = await client.call(request(identity=OTHER))
        assert (refused.grpc_status, refused.reason) == (14, "REVOCATIONS_UNKNOWN")
