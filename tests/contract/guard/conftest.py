"""A real guard on free ports, holders of its leases, and tokens of the three scopes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm

from headrace.guard.app import Running, build
from headrace.guard.client import LeaseHolder, Outcome, Permit, holding_leases
from headrace.guard.core.limits import BreakerRule, LimitBook, Limits
from headrace.guard.settings import Settings
from headrace.runtime.channels import bearer, open_channel
from headrace.runtime.clock import SystemClock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.telemetry import quiet

Credentials = tuple[tuple[str, str], ...]
Join = Callable[..., AbstractAsyncContextManager[LeaseHolder]]

LIMITS = LimitBook(
    tenants={
        "few": Limits(rate=0.01, burst=20, concurrency=1000),
        "narrow": Limits(rate=100_000.0, burst=100_000, concurrency=4),
        "wide": Limits(rate=100_000.0, burst=100_000, concurrency=1000),
        "patient": Limits(rate=50.0, burst=1, concurrency=1000, wait_s=5.0),
    },
    breaker=BreakerRule(5, 0.3),
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Free ports, and everything in the test's folder."""
    return Settings(
        listen="127.0.0.1:0",
        metrics_listen="",
        socket=tmp_path / "g.sock",
        jwks=tmp_path / "jwks.json",
        store=tmp_path / "guard",
        limits=LIMITS,
        lease_ttl_s=0.4,
        probe_s=1.0,
        drain_grace_s=1.0,
    )


@pytest.fixture
def token(settings: Settings) -> Callable[..., Credentials]:
    """Makes the credentials of a caller with these scopes."""
    key = generate_private_key(SECP256R1())
    public = ECAlgorithm.to_jwk(key.public_key()).rstrip("}") + ', "kid": "test"}'
    settings.jwks.write_text(f'{{"keys": [{public}]}}')

    def make(scope: str, token_id: str = "1") -> Credentials:
        now = int(time.time())
        claims = {"iss": "headrace", "aud": "headrace", "tenant": "acme", "scope": scope, "jti": token_id}
        text = jwt.encode(
            {**claims, "iat": now, "exp": now + 600}, key, algorithm="ES256", headers={"kid": "test"}
        )
        return bearer(text)

    return make


@pytest.fixture
async def guard(settings: Settings) -> AsyncIterator[Running]:
    """A serving guard."""
    async with build(settings) as running:
        yield running


@pytest.fixture
async def tcp(guard: Running) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to its TCP port."""
    async with open_channel(guard.server.address) as channel:
        yield channel


@pytest.fixture
async def local(guard: Running, settings: Settings) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to its Unix socket."""
    async with open_channel(f"unix:{settings.socket}") as channel:
        yield channel


@pytest.fixture
def join(settings: Settings) -> Join:
    """Makes holders of the guard's leases."""

    def make(name: str, incarnation: str = "1") -> AbstractAsyncContextManager[LeaseHolder]:
        # Long, because tests share their machine: a guard that is slow is not one that is lost.
        return holding_leases(
            f"unix:{settings.socket}", name, incarnation, SystemClock(), quiet()[0], sync_timeout_s=1.0
        )

    return make


async def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Returns when it holds."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  # what it waits for happens in another process's terms
            await asyncio.sleep(0.005)


async def joined(guard: Running, count: int) -> None:
    """Returns when so many holders have the guard's first frame, and each knows of all."""
    await until(lambda: len(guard.guard.holders) == count)
    await asyncio.sleep(0.05)


async def admitted(holder: LeaseHolder, tenant: str, model: str = "m") -> Permit | str:
    """A permit, or the reason why there is none."""
    try:
        return holder.admit(tenant, model) or await holder.ask(tenant, model, None)
    except HeadraceError as refusal:
        return refusal.reason


async def ended(holder: LeaseHolder, tenant: str, model: str, outcome: Outcome) -> str:
    """One request with this outcome: `ok`, or the reason why it was refused."""
    permit = await admitted(holder, tenant, model)
    if isinstance(permit, str):
        return permit
    holder.release(permit, outcome, 0.001)
    return "ok"
