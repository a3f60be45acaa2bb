"""The access log of a real Envoy in a real metering: every request once, by how it ended, and nothing of it in the way."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from headrace.local.gateway import GatewaySettings
from headrace.metering.app import build
from headrace.metering.client import EdgeCount, MeteringClient
from headrace.metering.settings import Settings
from headrace.runtime.channels import bearer, open_channel
from tests.contract.gateway.edge import INFER, Edge, edge_of, raw
from tests.contract.gateway.replica import Reply, echo
from tests.support.waiting import eventually

SETTLED_S = 20.0
STATS = "access_logs.open_telemetry_access_log"
Counted = dict[tuple[str, str], int]


@pytest.fixture(scope="module")
def tight() -> Iterator[Edge]:
    """A gateway whose limits a test can reach."""
    settings = GatewaySettings(
        Path(), Path(), tenant_rate=40, address_rate=80, max_deadline_s=0.5, max_message_bytes=1 << 20
    )
    with edge_of(settings) as edge:
        yield edge


@asynccontextmanager
async def metered(edge: Edge, folder: Path) -> AsyncIterator[MeteringClient]:
    """A metering where the gateway looks for it, and a client that may ask it."""
    jwks = folder / "jwks.json"
    jwks.write_bytes(edge.keys.jwks())
    settings = Settings(
        listen="127.0.0.1:0",
        metrics_listen="",
        socket=edge.settings.metering_socket,
        jwks=jwks,
        ledger=folder / "ledger.sqlite3",
        edge=folder / "edge.sqlite3",
    )
    async with build(settings) as running, open_channel(running.server.address) as channel:
        operator = edge.keys.issue("operator", ["observe", "operate"], 3600)
        yield MeteringClient(channel, bearer(operator.text))


async def counted(client: MeteringClient, requests: int) -> Counted:
    """Requests by tenant and outcome, as soon as there are so many."""
    end = time.monotonic() + SETTLED_S
    while True:
        counts = (await client.edge(by_tenant=True)).counts
        if sum(count.requests for count in counts) >= requests or time.monotonic() > end:
            return {(count.tenant, count.outcome.name): count.requests for count in counts}
        await asyncio.sleep(0.1)


def call(edge: Edge, path: str = INFER, *, token: bool = True, timeout: float = 5.0) -> grpc.StatusCode:
    """One call's code."""
    with edge.channel() as channel:
        metadata = tuple(edge.bearer().items()) if token else ()
        answer = raw(channel, path).future(b"hello", metadata=metadata, timeout=timeout)
        code: grpc.StatusCode = answer.code()
        return code


def give_up(edge: Edge) -> None:
    """A call that its client leaves when the replica has it."""
    edge.replica.seen.clear()
    with edge.channel() as channel:
        answer = raw(channel, INFER).future(b"x", metadata=tuple(edge.bearer().items()))
        while not edge.replica.seen:
            time.sleep(0.005)
        answer.cancel()


def every_way(edge: Edge) -> Counted:
    """Calls that end in every way that a caller can bring about, by gRPC and by REST; how many of each."""
    for _ in range(3):
        call(edge)
    edge.replica.reply = lambda _seen: Reply(None, 8, "enough")
    call(edge)
    edge.replica.reply = lambda _seen: Reply(None, 13, "broken")
    call(edge)
    edge.replica.reply = lambda _seen: Reply(b"late", after_s=2.0)
    call(edge)
    give_up(edge)
    edge.replica.reply = echo
    call(edge, token=False)
    call(edge, "/foo.Bar/Baz")
    with edge.http() as http:
        key = edge.bearer()
        http.get("/v2/health/live", headers=key)
        http.get("/v2/health/live?key=SECRET", headers=key)
        http.get("/v2/nothing", headers=key)
        http.get("/v2/health/live")
        http.post("/v2/models/m/infer", headers=key, content=b"x" * (2 << 20))
        http.get("/v2/a%2fb", headers=key)
        edge.replica.reply = lambda _seen: Reply(None, 8, "enough")
        http.get("/v2", headers=key)
        edge.replica.reply = echo
        edge.replica.drop_next = 9
        http.get("/v2", headers=key)
        edge.replica.drop_next = 0
    return {
        ("", "TOKEN"): 2,
        ("", "MALFORMED"): 1,
        ("acme", "ANSWERED"): 4,
        ("acme", "REFUSED"): 2,
        ("acme", "FAILED"): 1,
        ("acme", "DEADLINE"): 1,
        ("acme", "CANCELLED"): 1,
        ("acme", "NO_ROUTE"): 2,
        ("acme", "MALFORMED"): 1,
        ("acme", "TOO_LARGE"): 1,
        ("acme", "UPSTREAM"): 1,
    }


async def test_every_request_is_counted_once(tight: Edge, tmp_path: Path) -> None:
    """By tenant and by how it ended; a path that the edge can't read has no tenant yet."""
    async with metered(tight, tmp_path) as client:
        wanted = await asyncio.to_thread(every_way, tight)
        assert await counted(client, sum(wanted.values())) == wanted


async def test_both_limits_are_told_apart(tight: Edge, tmp_path: Path) -> None:
    """That of the tenant and that of the address, which nobody's token has been looked at before."""

    def storm() -> tuple[int, int, int]:
        with tight.http() as http:
            known = [http.get("/v2", headers=tight.bearer()).status_code for _ in range(70)]
            unknown = [http.get("/v2").status_code for _ in range(120)]
        return known.count(200), unknown.count(429), len(known) + len(unknown)

    async with metered(tight, tmp_path) as client:
        answered, address, both = await asyncio.to_thread(storm)
        found = await counted(client, both)
        assert sum(found.values()) == both
        assert found["acme", "ANSWERED"] == answered
        assert found["", "ADDRESS_LIMIT"] >= address > 0
        assert found["acme", "TENANT_LIMIT"] > 0


async def test_bytes_are_the_edges(tight: Edge, tmp_path: Path) -> None:
    """Headers and body, as they came and went."""
    async with metered(tight, tmp_path) as client:
        await asyncio.sleep(1.1)  # the buckets of the test before are full again
        assert await asyncio.to_thread(call, tight) is grpc.StatusCode.OK
        await counted(client, 1)
        (count,) = (await client.edge()).counts
        assert isinstance(count, EdgeCount)
        assert count.received_bytes > len(tight.token) + 10
        assert count.sent_bytes > 10


def test_nobody_waits_for_metering(tight: Edge) -> None:
    """Without a metering every call is answered; what the log had for nobody is known to Envoy."""
    time.sleep(1.1)
    before = _stat(tight, "dropped")
    assert {call(tight) for _ in range(20)} == {grpc.StatusCode.OK}
    eventually(lambda: _stat(tight, "dropped") - before == 20, "all 20 are counted as dropped")


def _stat(edge: Edge, name: str) -> int:
    return edge.stats(f"{STATS}.logs_{name}$")[f"{STATS}.logs_{name}"]


def test_no_log_where_nothing_is_metered(tmp_path: Path) -> None:
    """Then Envoy is not told to keep one."""
    with edge_of(GatewaySettings(Path(), Path(), metered=False)) as edge:
        assert call(edge) is grpc.StatusCode.OK
        assert edge.stats("^access_logs") == {}
