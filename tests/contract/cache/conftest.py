"""A real cache on free ports before a real Valkey, clients of it, and tokens."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm

from headrace.cache.app import Cache, build
from headrace.cache.client import CachedAnswers, caching
from headrace.cache.settings import Settings
from headrace.runtime.channels import bearer, open_channel
from headrace.runtime.clock import SystemClock
from headrace.runtime.telemetry import quiet
from tests.support.valkey import Valkey, running_valkey

Credentials = tuple[tuple[str, str], ...]


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey of the test's own: it may be killed."""
    with running_valkey(tmp_path / "valkey") as running:
        yield running


@pytest.fixture
def memory_only(tmp_path: Path) -> Settings:
    """Free ports, everything in the test's folder, and no store behind memory."""
    (tmp_path / "cache.key").write_bytes(os.urandom(32))
    return Settings(
        listen="127.0.0.1:0",
        metrics_listen="",
        socket=tmp_path / "c.sock",
        jwks=tmp_path / "jwks.json",
        key_file=tmp_path / "cache.key",
        redis="",
        heartbeat_s=0.1,
    )


@pytest.fixture
async def cache(memory_only: Settings) -> AsyncIterator[Cache]:
    """A serving cache that has memory alone."""
    async with build(memory_only) as running:
        yield running


@pytest.fixture
async def channel(cache: Cache, memory_only: Settings) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to its Unix socket."""
    async with open_channel(f"unix:{memory_only.socket}") as opened:
        yield opened


@pytest.fixture
async def tcp(cache: Cache) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to its TCP port."""
    async with open_channel(cache.server.address) as opened:
        yield opened


@pytest.fixture
async def answers(cache: Cache, memory_only: Settings) -> AsyncIterator[CachedAnswers]:
    """What a replica has of it, with a budget that a busy machine keeps."""
    async with client_of(memory_only) as client:
        yield client


@asynccontextmanager
async def client_of(settings: Settings, *, budget_s: float = 1.0) -> AsyncIterator[CachedAnswers]:
    """A replica's client of the cache with these settings; its look-ups may take their time."""
    telemetry, _ = quiet()
    async with caching(f"unix:{settings.socket}", SystemClock(), telemetry, budget_s=budget_s) as answers:
        yield answers


async def until(probe: Callable[[], object], what: str, within_s: float = 10.0) -> None:
    """Returns as soon as `probe` says something true; fails after `within_s`."""
    end = time.monotonic() + within_s
    while not probe():
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.01)


@pytest.fixture
def token(memory_only: Settings) -> Callable[[str], Credentials]:
    """Makes the credentials of a caller with these scopes."""
    key = generate_private_key(SECP256R1())
    public = ECAlgorithm.to_jwk(key.public_key()).rstrip("}") + ', "kid": "test"}'
    memory_only.jwks.write_text(f'{{"keys": [{public}]}}')

    def make(scope: str) -> Credentials:
        now = int(time.time())  # a token's times are the wall clock's
        claims = {"iss": "headrace", "aud": "headrace", "tenant": "acme", "scope": scope, "jti": "1"}
        text = jwt.encode(
            {**claims, "iat": now, "exp": now + 600}, key, algorithm="ES256", headers={"kid": "test"}
        )
        return bearer(text)

    return make
