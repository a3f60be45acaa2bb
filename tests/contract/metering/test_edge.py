"""Logs' Export, StreamAccessLogs and GetEdgeSummary over the wire."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub

from headrace.metering.app import Metering, build
from headrace.metering.client import MeteringClient
from headrace.metering.core.edge import Outcome
from headrace.metering.edge_servicer import MAX_STREAMS
from headrace.metering.envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from headrace.metering.envoy.service.accesslog.v3.als_pb2_grpc import AccessLogServiceStub
from headrace.metering.settings import Settings
from headrace.metering.usage import EdgeComparison, EdgeCount, UsageKind
from headrace.metering.v1.metering_service_pb2 import (
    CostDimension,
    GetEdgeSummaryRequest,
    RecordRequest,
)
from headrace.metering.v1.metering_service_pb2_grpc import MeteringServiceStub
from headrace.metering.v1.usage_pb2 import UsageBatch
from headrace.runtime.channels import open_channel
from tests.contract.metering.conftest import Credentials
from tests.contract.metering.test_record import answers
from tests.fakes.edge import NOON_S, exported, line, logged, message
from tests.fakes.metering import event, recording


async def log(
    channel: grpc.aio.Channel, *messages: StreamAccessLogsMessage, credentials: Credentials = ()
) -> None:
    """A stream of Envoy's, to its end."""
    call: Any = AccessLogServiceStub(channel).StreamAccessLogs(iter(messages), metadata=credentials)
    await call


async def export(
    channel: grpc.aio.Channel, *lines: str, credentials: Credentials = ()
) -> ExportLogsServiceResponse:
    """A batch of the gateway's."""
    stub: Any = LogsServiceStub(channel)
    answer: ExportLogsServiceResponse = await stub.Export(exported(*lines), metadata=credentials)
    return answer


def record(*keys: str, first: int = 1, **changes: Any) -> RecordRequest:
    """Events under these keys of the edge's."""
    found = recording([event(f"e{key}".encode(), **changes) for key in keys], first)
    return RecordRequest(
        source=found.source,
        incarnation=found.incarnation,
        first_sequence=first,
        oldest_sequence=1,
        batch=UsageBatch.FromString(found.message),
    )


async def test_the_edge_stands_beside_the_ledger(local: grpc.aio.Channel, client: MeteringClient) -> None:
    """Counts by outcome, comparisons by tenant and model; an event that comes again is compared once."""
    await log(local, message(logged("r1"), logged("r2"), logged("r3", status="8")))
    await answers(local, record("r1"), record("r1"), record("r1", "r2"))
    await log(
        local, message(logged("", tenant="", status="16", details="jwt_authn_access_denied{Jwt_is_missing}"))
    )
    report = await client.edge(by_tenant=True, by_model=True)
    assert report.counts == (
        EdgeCount("", Outcome.TOKEN, 1, 505, 130),
        EdgeCount("acme", Outcome.ANSWERED, 2, 1010, 470),
        EdgeCount("acme", Outcome.REFUSED, 1, 505, 130),
    )
    assert report.comparisons == (EdgeComparison("acme", "linear", 2, 0, 420, 400, 0, 0, 2),)
    assert report.waiting == 0
    assert (await client.edge()).comparisons == (EdgeComparison("", "", 2, 0, 420, 400, 0, 0, 2),)


async def test_lines_are_counted_as_entries_are(local: grpc.aio.Channel, client: MeteringClient) -> None:
    """The same figures by either way, and an event meets its request whichever way that came."""
    await answers(local, record("r1"), record("r1", "r2"))
    answer = await export(local, line("r1"), line("r3", status="8"))
    assert not answer.HasField("partial_success")
    await log(local, message(logged("r2")))
    report = await client.edge(by_tenant=True, by_model=True)
    assert report.counts == (
        EdgeCount("acme", Outcome.ANSWERED, 2, 1010, 470),
        EdgeCount("acme", Outcome.REFUSED, 1, 505, 130),
    )
    assert report.comparisons == (EdgeComparison("acme", "linear", 2, 0, 420, 400, 0, 0, 2),)


async def test_what_is_no_line_is_a_partial_success(local: grpc.aio.Channel, client: MeteringClient) -> None:
    """It is told how many and why; what stands beside it is counted."""
    answer = await export(local, "hello", line("r1"))
    assert answer.partial_success.rejected_log_records == 1
    assert answer.partial_success.error_message == "expected 12 fields, got 1"
    assert [count.requests for count in (await client.edge()).counts] == [1]


async def test_differences_change_no_price(local: grpc.aio.Channel, client: MeteringClient) -> None:
    """Bytes that differ are counted; the ledger prices its own."""
    await answers(local, record("r1", request_bytes=200))
    before = await client.cost()
    await log(local, message(logged("r1")))
    (row,) = (await client.edge()).comparisons
    assert (row.matched, row.bytes_differ, row.edge_bytes, row.ledger_bytes) == (1, 1, 210, 300)
    assert (await client.cost()).rows == before.rows


async def test_what_has_not_met_waits(local: grpc.aio.Channel, client: MeteringClient) -> None:
    """It is in no comparison yet, and the ledger's count shows that there is more."""
    await answers(local, record("r1", "r2", kind=UsageKind.CACHED))
    await log(local, message(logged("r9"), logged("r8", status="8")))
    report = await client.edge(by_tenant=True, by_model=True)
    assert report.waiting == 3
    assert report.comparisons == (EdgeComparison("acme", "linear", ledger_events=2),)


async def test_a_period_is_of_whole_minutes(local: grpc.aio.Channel, client: MeteringClient) -> None:
    """Its start is rounded down."""
    await log(local, message(logged("r1")))
    assert [count.requests for count in (await client.edge(NOON_S + 59)).counts] == [1]
    assert (await client.edge(NOON_S + 60)).counts == ()


async def test_figures_outlive_the_process(settings: Settings, target: str, token: Callable[[str], Credentials]) -> None:  # fmt: skip
    """Those of the last moment too, when metering is stopped before anybody asked."""
    for _ in range(2):
        async with build(settings), open_channel(target) as local:
            await log(local, message(logged("r1")))
    async with build(settings) as running, open_channel(running.server.address) as tcp:
        client = MeteringClient(tcp, token("observe"))
        assert [count.requests for count in (await client.edge()).counts] == [2]


async def test_streams_end_with_metering(settings: Settings, target: str, token: Callable[[str], Credentials]) -> None:  # fmt: skip
    """A gateway that logs on does not hold metering up; its stream ends with success, as any may."""
    ended: asyncio.Task[Any]
    async with open_channel(target) as local:
        async with build(settings) as running, open_channel(running.server.address) as tcp:
            stub: Any = AccessLogServiceStub(local)
            call = stub.StreamAccessLogs()
            await call.write(message(logged("r1")))
            client = MeteringClient(tcp, token("observe"))
            async with asyncio.timeout(10):  # a stream that has not begun when metering ends is cancelled
                while not (await client.edge()).counts:
                    pass
            ended = asyncio.create_task(_answer(call))
        await asyncio.wait_for(ended, 5)


async def _answer(call: Any) -> Any:
    return await call


async def test_streams_are_bounded(metering: Metering, target: str) -> None:
    """A further one is refused with UNAVAILABLE."""

    async def endless() -> AsyncIterator[StreamAccessLogsMessage]:
        yield message(logged("r1"))
        await asyncio.Event().wait()

    async with open_channel(target) as local:
        stub = AccessLogServiceStub(local)
        calls: list[Any] = [stub.StreamAccessLogs(endless()) for _ in range(MAX_STREAMS + 1)]
        done, running = await asyncio.wait(
            [asyncio.create_task(_answer(call)) for call in calls], return_when=asyncio.FIRST_COMPLETED
        )
        (refused,) = done
        error = refused.exception()
        assert isinstance(error, grpc.aio.AioRpcError)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_logging_is_an_operators_matter(
    tcp: grpc.aio.Channel, token: Callable[[str], Credentials]
) -> None:
    """Over TCP: no token, too small a scope, the scope that it needs."""
    for credentials, code in (
        ((), grpc.StatusCode.UNAUTHENTICATED),
        (token("infer observe"), grpc.StatusCode.PERMISSION_DENIED),
    ):
        for way in (
            log(tcp, message(logged("r1")), credentials=credentials),
            export(tcp, line("r1"), credentials=credentials),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await way
            assert error.value.code() is code
    await log(tcp, message(logged("r1")), credentials=token("operate"))
    await export(tcp, line("r1"), credentials=token("operate"))


async def test_a_tenant_sees_its_own(
    local: grpc.aio.Channel, tcp: grpc.aio.Channel, token: Callable[[str], Credentials]
) -> None:
    """Neither another's requests nor another's costs nor what nobody's token came with; who operates sees all."""
    await answers(local, record("r1"), record("r2", first=2, tenant="other"))
    denied = logged("", tenant="", status="16", details="jwt_authn_access_denied{Jwt_is_missing}")
    await log(local, message(logged("r1"), logged("r2", tenant="other"), denied))
    for scopes, tenants in (("observe", {"acme"}), ("observe operate", {"", "acme", "other"})):
        client = MeteringClient(tcp, token(scopes))
        report = await client.edge(by_tenant=True)
        assert {count.tenant for count in report.counts} == tenants
        assert {row.tenant for row in report.comparisons} == tenants - {""}
        assert {row.tenant for row in (await client.cost(by_tenant=True)).rows} == tenants - {""}
        assert sum(count.requests for count in (await client.edge()).counts) == len(tenants)


async def test_asking_needs_a_scope_and_a_dimension(
    local: grpc.aio.Channel, tcp: grpc.aio.Channel, token: Callable[[str], Credentials]
) -> None:
    """As for costs: not over the socket, not with `infer`; UNSPECIFIED is refused."""
    for client, code in (
        (MeteringClient(tcp), grpc.StatusCode.UNAUTHENTICATED),
        (MeteringClient(tcp, token("infer")), grpc.StatusCode.PERMISSION_DENIED),
        (MeteringClient(local), grpc.StatusCode.PERMISSION_DENIED),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.edge()
        assert error.value.code() is code
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await MeteringServiceStub(tcp).GetEdgeSummary(
            GetEdgeSummaryRequest(group_by=[CostDimension.COST_DIMENSION_UNSPECIFIED]),
            metadata=token("observe"),
        )
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
