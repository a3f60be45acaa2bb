"""A real scaling on free ports without a supervisor, and tokens of any scope."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm

from headrace.runtime.channels import bearer, open_channel
from headrace.scaling.app import Running, build
from headrace.scaling.kept import EndpointFile, Told
from headrace.scaling.settings import Settings
from tests.unit.scaling.gateway_scene import endpoints

Credentials = tuple[tuple[str, str], ...]
KEPT = Told(41, endpoints("inference-0", "inference-1"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Free ports, and everything in the test's folder; two replicas were told before."""
    made = Settings(
        listen="127.0.0.1:0",
        metrics_listen="",
        socket=tmp_path / "s.sock",
        jwks=tmp_path / "jwks.json",
        supervisor=f"unix:{tmp_path / 'nobody.sock'}",
        store=tmp_path,
        endpoints=tmp_path / "endpoints.json",
    )
    EndpointFile(made.endpoints).save(KEPT)
    return made


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
async def scaling(settings: Settings) -> AsyncIterator[Running]:
    """A serving scaling."""
    async with build(settings) as running:
        yield running


@pytest.fixture
async def local(scaling: Running, settings: Settings) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to its Unix socket."""
    async with open_channel(f"unix:{settings.socket}") as channel:
        yield channel


@pytest.fixture
async def tcp(scaling: Running) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to its TCP port."""
    async with open_channel(scaling.server.address) as channel:
        yield channel
