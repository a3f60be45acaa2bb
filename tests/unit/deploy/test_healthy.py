"""The image's health check: its exit status is what Docker believes."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from deploy.image.healthy import main, target
from headrace.local.jwks import serving_jwks

LISTEN = "HEADRACE_GUARD_LISTEN"


@pytest.fixture
def served() -> Iterator[tuple[health.HealthServicer, str]]:
    """A server with gRPC health, and its address."""
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        servicer = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield servicer, f"0.0.0.0:{port}"
        server.stop(None).wait()


def test_the_service_is_found_by_its_setting() -> None:
    """Where it listens is a variable of the container already; metrics are another port."""
    environ = {LISTEN: "0.0.0.0:9300", "HEADRACE_GUARD_METRICS_LISTEN": "0.0.0.0:9301"}
    assert target(environ) == "127.0.0.1:9300"


@pytest.mark.parametrize("environ", [{}, {LISTEN: "0.0.0.0:1", "HEADRACE_CACHE_LISTEN": "0.0.0.0:2"}])
def test_a_check_without_one_service_says_so(environ: dict[str, str]) -> None:
    """None or two is a mistake of whoever wrote the container, and no answer."""
    with pytest.raises(ValueError, match="exactly one"):
        target(environ)


@pytest.mark.parametrize(("status", "code"), [("SERVING", 0), ("NOT_SERVING", 1)])
def test_health_is_the_exit_status(served: tuple[health.HealthServicer, str], status: str, code: int) -> None:
    """0 only for a server that serves; one that drains is not healthy."""
    servicer, address = served
    servicer.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(status))
    assert main([], {LISTEN: address}) == code


def test_nobody_there_is_unhealthy(tmp_path: Path) -> None:
    """A closed port and a missing socket fail; they raise nothing."""
    assert main([], {LISTEN: "0.0.0.0:1"}) == 1
    assert main([str(tmp_path / "none.sock"), "/ready"], {}) == 1


async def test_http_on_a_socket(tmp_path: Path) -> None:
    """200 is healthy, any other answer is not."""
    path = tmp_path / "jwks.sock"
    async with serving_jwks(path, lambda: b"{}"):
        for asked, code in (("/.well-known/jwks.json", 0), ("/other", 1)):
            assert await asyncio.to_thread(main, [str(path), asked], {}) == code
