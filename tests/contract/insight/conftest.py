"""A real insight on free ports, and tokens of the three scopes."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm

from headrace.insight.app import Insight, build
from headrace.insight.client import InsightClient
from headrace.insight.settings import Settings
from headrace.runtime.channels import bearer, open_channel

Credentials = tuple[tuple[str, str], ...]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Free ports, and everything in the test's folder."""
    return Settings(
        listen="127.0.0.1:0",
        metrics_listen="",
        socket=tmp_path / "i.sock",
        jwks=tmp_path / "jwks.json",
        store=tmp_path / "traces.sqlite3",
        trace_rate=1e6,
        trace_burst=1e6,
    )


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
async def insight(settings: Settings) -> AsyncIterator[Insight]:
    """A serving insight."""
    async with build(settings) as running:
        yield running


@pytest.fixture
async def tcp(insight: Insight) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to its TCP port."""
    async with open_channel(insight.server.address) as channel:
        yield channel


@pytest.fixture
async def local(insight: Insight, settings: Settings) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to its Unix socket."""
    async with open_channel(f"unix:{settings.socket}") as channel:
        yield channel


@pytest.fixture
def client(tcp: grpc.aio.Channel, token: Callable[[str], Credentials]) -> InsightClient:
    """A client of who operates the mesh, and so may see every tenant's traces."""
    return InsightClient(tcp, token("observe operate"))
