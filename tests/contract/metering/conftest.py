"""A real metering on free ports, and tokens of the three scopes."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm

from headrace.metering.app import Metering, build
from headrace.metering.client import MeteringClient
from headrace.metering.reader import LedgerReader
from headrace.metering.settings import Settings
from headrace.runtime.channels import bearer, open_channel

Credentials = tuple[tuple[str, str], ...]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Free ports, and everything in the test's folder."""
    return Settings(
        listen="127.0.0.1:0",
        metrics_listen="",
        socket=tmp_path / "m.sock",
        jwks=tmp_path / "jwks.json",
        ledger=tmp_path / "ledger.sqlite3",
        edge=tmp_path / "edge.sqlite3",
        drain_grace_s=2.0,
    )


@pytest.fixture
def target(settings: Settings) -> str:
    """The Unix socket, as replicas reach it."""
    return f"unix:{settings.socket}"


@pytest.fixture
def token(settings: Settings) -> Callable[[str], Credentials]:
    """Makes the credentials of a caller with these scopes."""
    key = generate_private_key(SECP256R1())
    public = ECAlgorithm.to_jwk(key.public_key()).rstrip("}") + ', "kid": "test"}'
    settings.jwks.write_text(f'{{"keys": [{public}]}}')

    def make(scope: str) -> Credentials:
        now = int(time.time())
        claims = {"iss": "headrace", "aud": "headrace", "tenant": "acme", "scope": scope, "jti": "1"}
        text = jwt.encode(
            {**claims, "iat": now, "exp": now + 600}, key, algorithm="ES256", headers={"kid": "test"}
        )
        return bearer(text)

    return make


@pytest.fixture
async def metering(settings: Settings) -> AsyncIterator[Metering]:
    """A serving metering."""
    async with build(settings) as running:
        yield running


@pytest.fixture
async def tcp(metering: Metering) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to its TCP port."""
    async with open_channel(metering.server.address) as channel:
        yield channel


@pytest.fixture
async def local(metering: Metering, target: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to its Unix socket."""
    async with open_channel(target) as channel:
        yield channel


@pytest.fixture
def client(tcp: grpc.aio.Channel, token: Callable[[str], Credentials]) -> MeteringClient:
    """A client that may observe everybody."""
    return MeteringClient(tcp, token("observe operate"))


@pytest.fixture
def ledger(metering: Metering, settings: Settings) -> Iterator[LedgerReader]:
    """What is on metering's disk."""
    reader = LedgerReader(settings.ledger)
    yield reader
    reader.close()
