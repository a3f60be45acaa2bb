"""A revoked token is refused wherever scopes are checked."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest

from headrace.guard.app import Running, build
from headrace.guard.client import GuardClient, watching_revocations
from headrace.guard.settings import Settings
from headrace.insight import app as insight_app
from headrace.insight.client import InsightClient
from headrace.insight.settings import Settings as InsightSettings
from headrace.runtime.channels import open_channel
from headrace.runtime.clock import SystemClock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.revocation import Revocations
from headrace.runtime.rpc import Caller
from tests.contract.guard.conftest import Credentials, Join, joined

IN_AN_HOUR = int(time.time()) + 3600
OPERATOR = Caller("operator", frozenset({"operate"}), "jti-operator")


def refused(revocations: Revocations, caller: Caller, *, strict: bool = False) -> str:
    """The reason why the caller is refused; empty when it is not."""
    try:
        revocations.check(caller, strict=strict)
    except HeadraceError as refusal:
        return refusal.reason
    return ""


async def settled(revocations: Revocations, caller: Caller, reason: str, *, strict: bool = False) -> float:
    """Seconds until the caller is treated so."""
    start = time.monotonic()
    async with asyncio.timeout(5):
        while refused(revocations, caller, strict=strict) != reason:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return time.monotonic() - start


@pytest.fixture
async def insight(settings: Settings, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to an insight that watches the guard."""
    watching = InsightSettings(
        listen="127.0.0.1:0",
        metrics_listen="",
        jwks=settings.jwks,
        store=tmp_path / "traces.sqlite3",
        guard=f"unix:{settings.socket}",
    )
    async with insight_app.build(watching) as running, open_channel(running.server.address) as channel:
        yield channel


async def code_of(call: object) -> grpc.StatusCode:
    """How a call ends."""
    try:
        await call  # type: ignore[misc]
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_revoked_token_is_refused_by_the_guard_itself(
    tcp: grpc.aio.Channel, local: grpc.aio.Channel, token: Callable[..., Credentials]
) -> None:
    """At once: UNAUTHENTICATED, though signature and expiry are good; another token of the tenant works."""
    mine, other = token("observe", "mine"), token("observe", "other")
    assert await code_of(GuardClient(tcp, mine).limits()) is grpc.StatusCode.OK
    await GuardClient(local).revoke("mine", IN_AN_HOUR)
    assert await code_of(GuardClient(tcp, mine).limits()) is grpc.StatusCode.UNAUTHENTICATED
    assert await code_of(GuardClient(tcp, other).limits()) is grpc.StatusCode.OK
    assert await GuardClient(local).revoked() == [("mine", IN_AN_HOUR)]


async def test_it_is_refused_by_other_services_within_a_second(
    guard: Running, insight: grpc.aio.Channel, local: grpc.aio.Channel, token: Callable[..., Credentials]
) -> None:
    """The promise is 5 s; where the stream reaches, it is as long as a frame takes."""
    asked = InsightClient(insight, token("observe", "mine"))
    await asked.newest()
    await GuardClient(local).revoke("mine", IN_AN_HOUR)
    start = time.monotonic()
    while await code_of(asked.newest()) is grpc.StatusCode.OK:
        assert time.monotonic() - start < 1.0
    assert await code_of(asked.newest()) is grpc.StatusCode.UNAUTHENTICATED
    await InsightClient(insight, token("observe", "other")).newest()


async def test_a_replica_hears_of_it(guard: Running, join: Join, local: grpc.aio.Channel) -> None:
    """Holders of leases need no second stream."""
    async with join("r1") as one:
        await joined(guard, 1)
        caller = Caller("acme", frozenset({"infer"}), "mine")
        assert refused(one.revocations, caller) == ""
        await GuardClient(local).revoke("mine", IN_AN_HOUR)
        assert await settled(one.revocations, caller, "TOKEN_REVOKED") < 1.0


async def test_revocations_outlive_the_guard(settings: Settings) -> None:
    """They were on the disk before the call was answered."""
    async with build(settings), open_channel(f"unix:{settings.socket}") as channel:
        await GuardClient(channel).revoke("mine", IN_AN_HOUR)
    async with build(settings), open_channel(f"unix:{settings.socket}") as channel:
        assert await GuardClient(channel).revoked() == [("mine", IN_AN_HOUR)]


async def test_while_the_stream_is_lost_administration_is_refused(settings: Settings) -> None:
    """At once, with a time to retry; others go on by the last known list, and all is well when it is back."""
    revoked, other = Caller("t", frozenset({"infer"}), "mine"), Caller("t", frozenset({"infer"}), "other")
    async with watching_revocations(f"unix:{settings.socket}", "test", SystemClock()) as revocations:
        assert refused(revocations, OPERATOR, strict=True) == "REVOCATIONS_UNKNOWN"
        async with build(settings), open_channel(f"unix:{settings.socket}") as channel:
            await settled(revocations, OPERATOR, "", strict=True)
            await GuardClient(channel).revoke("mine", IN_AN_HOUR)
            await settled(revocations, revoked, "TOKEN_REVOKED")
        assert await settled(revocations, OPERATOR, "REVOCATIONS_UNKNOWN", strict=True) < 1.0
        assert refused(revocations, OPERATOR) == ""
        assert refused(revocations, other) == ""
        assert refused(revocations, revoked) == "TOKEN_REVOKED"
        async with build(settings):
            await settled(revocations, OPERATOR, "", strict=True)
            assert refused(revocations, revoked) == "TOKEN_REVOKED"


async def test_strictly_nobody_passes_while_the_list_is_unknown(settings: Settings) -> None:
    """A staleness of 0: without the stream every token is refused, a trusted peer without one is not."""
    target = f"unix:{settings.socket}"
    clock = SystemClock()
    async with watching_revocations(target, "test", clock, revocation_staleness_s=0.0) as revocations:
        assert refused(revocations, Caller("t", frozenset({"infer"}), "other")) == "REVOCATIONS_UNKNOWN"
        assert refused(revocations, Caller("local", frozenset({"operate"})), strict=True) == ""


async def test_without_a_guard_nothing_is_revoked() -> None:
    """An empty target is no guard, not one that is lost."""
    async with watching_revocations("", "test", SystemClock()) as revocations:
        assert refused(revocations, OPERATOR, strict=True) == ""
