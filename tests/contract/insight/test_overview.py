"""GetOverview of a real insight that asks real processes for their metrics."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from prometheus_client import CollectorRegistry, start_http_server

from headrace.inference.statistics import InferenceMetrics, Statistics
from headrace.insight.app import build
from headrace.insight.client import InsightClient
from headrace.insight.figures import Health, Overview
from headrace.insight.settings import Settings
from headrace.runtime.channels import open_channel
from tests.contract.insight.conftest import Credentials

ROUND_S = 0.1


class Replica:
    """A process's metrics on a port of their own."""

    def __init__(self, port: int = 0) -> None:
        registry = CollectorRegistry()
        self.statistics = Statistics("linear", "1", InferenceMetrics(registry))
        self._server, self._thread = start_http_server(port, "127.0.0.1", registry)
        self.port = self._server.server_port

    def answer(self, count: int) -> None:
        for _ in range(count):
            self.statistics.answered(3_000_000)

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def replica() -> Iterator[Replica]:
    one = Replica()
    yield one
    one.end()


def listed(path: Path, **ports: int) -> None:
    path.write_text(
        json.dumps(
            [
                {"targets": [f"127.0.0.1:{port}"], "labels": {"service": "inference", "replica": name}}
                for name, port in ports.items()
            ]
        )
    )


@pytest.fixture
async def observer(
    settings: Settings, tmp_path: Path, token: Callable[[str], Credentials]
) -> AsyncIterator[InsightClient]:
    settings = replace(settings, targets=tmp_path / "targets.json", figures_interval_s=ROUND_S)
    async with build(settings) as running, open_channel(running.server.address) as channel:
        yield InsightClient(channel, token("observe"))


async def seen(client: InsightClient, when: Callable[[Overview], bool]) -> Overview:
    """The first overview of which it is true."""
    while not when(overview := await client.overview()):  # noqa: ASYNC110  # insight tells nobody
        await asyncio.sleep(ROUND_S / 2)
    return overview


async def test_figures_are_of_what_processes_count(
    observer: InsightClient, tmp_path: Path, replica: Replica
) -> None:
    """A process that is listed is asked; what it counted before is not of now."""
    replica.answer(1000)
    listed(tmp_path / "targets.json", one=replica.port)
    await seen(observer, lambda found: found.models != () and found.models[0].requests_per_s == 0.0)
    replica.answer(40)
    overview = await seen(observer, lambda found: bool(found.models[0].requests_per_s))
    assert [(p.name, p.health) for p in overview.processes] == [("one", Health.UP)]
    (model,) = overview.models
    assert model.latency.p95 is not None
    assert 0.002 < model.latency.p95.seconds <= 0.005
    assert sum(point.requests_per_s or 0.0 for point in (await observer.overview(history=True)).history) > 0


async def test_a_process_that_ends_is_down(observer: InsightClient, tmp_path: Path) -> None:
    """Its figures are gone with it; one that is no longer listed is not shown."""
    one = Replica()
    listed(tmp_path / "targets.json", one=one.port)
    await seen(observer, lambda found: [p.health for p in found.processes] == [Health.UP])
    one.end()
    overview = await seen(observer, lambda found: found.processes[0].health is Health.DOWN)
    assert overview.models == ()
    listed(tmp_path / "targets.json")
    await seen(observer, lambda found: found.processes == ())


async def test_one_that_says_nothing_delays_no_other(
    observer: InsightClient, tmp_path: Path, replica: Replica
) -> None:
    """It takes connections and never answers: stale; the others are read in each round."""
    held: list[asyncio.StreamWriter] = []
    mute = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    port = mute.sockets[0].getsockname()[1]
    listed(tmp_path / "targets.json", mute=port, one=replica.port)
    await seen(
        observer,
        lambda found: (
            [p.health for p in found.processes] == [Health.STALE, Health.UP]
            and found.models != ()
            and found.models[0].requests_per_s is not None
        ),
    )
    for writer in held:
        writer.close()
    mute.close()


async def test_an_address_that_is_none_harms_nobody(
    observer: InsightClient, tmp_path: Path, replica: Replica
) -> None:
    """A mistake in the file costs its own line."""
    wrong = ["127.0.0.1:99999", "127.0.0.1:²", "..:80", "\u0000:80"]
    (tmp_path / "targets.json").write_text(
        json.dumps([{"targets": [*wrong, f"127.0.0.1:{replica.port}"], "labels": {"service": "inference"}}])
    )
    overview = await seen(observer, lambda found: Health.UP in {p.health for p in found.processes})
    assert [p.name for p in overview.processes if p.health is Health.UP] == [f"127.0.0.1:{replica.port}"]
    assert {p.health for p in overview.processes if p.name in wrong} <= {Health.STALE, Health.DOWN}


async def test_without_a_list_there_are_no_figures(client: InsightClient) -> None:
    """The refusal names the setting."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.overview()
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "told which" in (refused.value.details() or "")
