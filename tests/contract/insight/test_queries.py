"""What insight answers, over its public contract."""

from collections.abc import Callable

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from headrace.insight.app import Insight
from headrace.insight.client import InsightClient
from headrace.insight.v1.insight_service_pb2 import (
    CreateWebLinkRequest,
    GetOverviewRequest,
    GetTraceRequest,
    ListTracesRequest,
)
from headrace.insight.v1.insight_service_pb2_grpc import InsightServiceStub
from tests.contract.insight.conftest import Credentials
from tests.contract.insight.test_export import reason_of, settled
from tests.fakes.insight import otlp_request, otlp_span, trace_id


async def test_the_newest_traces_are_listed(
    insight: Insight, local: grpc.aio.Channel, client: InsightClient
) -> None:
    """Newest first, as many as asked for, only of the service asked for; 20 unless told otherwise."""
    spans = [otlp_span(n, 1, start=n * 1000, end=n * 1000 + 7) for n in range(1, 31)]
    stub = TraceServiceStub(local)
    await stub.Export(otlp_request(*spans))
    await stub.Export(otlp_request(otlp_span(3, 2, parent=1, start=3001, end=3009), service="gateway"))
    await settled(insight)
    assert [trace.start_ns for trace in await client.newest()] == [n * 1000 for n in range(30, 10, -1)]
    assert len(await client.newest(2)) == 2
    (found,) = await client.newest(5, "gateway")
    assert (found.trace_id, found.root_service, found.span_count) == (trace_id(3).hex(), "inference", 2)
    assert found.end_ns - found.start_ns == 9


async def test_a_trace_that_is_not_there_is_not_found(client: InsightClient) -> None:
    """NOT_FOUND with the reason of the contract."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await client.trace("a" * 32)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert reason_of(raised.value) == "TRACE_NOT_FOUND"


@pytest.mark.parametrize(
    "identifier", ["", "1", "g" * 32, "0" * 32, "a" * 31, "a" * 33, "\uff41" * 32, "' OR 1=1 --".ljust(32)]
)
async def test_what_is_no_identifier_is_refused(client: InsightClient, identifier: str) -> None:
    """INVALID_ARGUMENT names the field; nothing reaches the store."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await client.trace(identifier)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(raised.value) == "FIELD_INVALID"


async def test_an_identifier_may_be_in_capitals(
    insight: Insight, local: grpc.aio.Channel, client: InsightClient
) -> None:
    """As some tools print them."""
    await TraceServiceStub(local).Export(otlp_request(otlp_span(0xABC, 1)))
    await settled(insight)
    assert (await client.trace(trace_id(0xABC).hex().upper())).spans


@pytest.mark.parametrize("limit", [-1, 1001, 2**31 - 1])
async def test_a_list_is_bounded(client: InsightClient, limit: int) -> None:
    """More than 1,000 lines, or fewer than none, is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await client.newest(limit)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("scope", ["infer", "operate", ""])
async def test_only_an_observer_may_ask(
    tcp: grpc.aio.Channel, token: Callable[[str], Credentials], scope: str
) -> None:
    """Each method needs its own scope; a wider-sounding one does not do."""
    stub, credentials = InsightServiceStub(tcp), token(scope)
    for call in (
        stub.GetTrace(GetTraceRequest(trace_id="a" * 32), metadata=credentials),
        stub.ListTraces(ListTracesRequest(), metadata=credentials),
        stub.GetOverview(GetOverviewRequest(), metadata=credentials),
        stub.CreateWebLink(CreateWebLinkRequest(), metadata=credentials),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_without_a_token_nobody_may_ask(tcp: grpc.aio.Channel) -> None:
    """Health answers openly on the same port, questions do not."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await InsightServiceStub(tcp).ListTraces(ListTracesRequest())
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    health = await HealthStub(tcp).Check(HealthCheckRequest())
    assert health.status == HealthCheckResponse.SERVING


async def test_the_unix_socket_is_for_export_only(
    local: grpc.aio.Channel, token: Callable[[str], Credentials]
) -> None:
    """Peers of the socket are trusted to write spans, not to read them, whatever headers they send."""
    forged = (("x-tenant-id", "operator"), ("x-headrace-scopes", "observe operate"), *token("observe"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await InsightServiceStub(local).ListTraces(ListTracesRequest(), metadata=forged)
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_tenant_sees_its_own_traces_only(
    insight: Insight, local: grpc.aio.Channel, tcp: grpc.aio.Channel, token: Callable[[str], Credentials]
) -> None:
    """Another's trace is not found, listed for nobody else, nor one that both sent spans into; an operator sees all."""
    stub = TraceServiceStub(local)
    await stub.Export(otlp_request(otlp_span(1, 1, tenant="acme"), otlp_span(1, 2, parent=1)))
    await stub.Export(otlp_request(otlp_span(2, 1, tenant="other")))
    await stub.Export(otlp_request(otlp_span(3, 1, tenant="acme"), otlp_span(3, 2, tenant="other")))
    await stub.Export(otlp_request(otlp_span(4, 1)))
    await settled(insight)
    acme = InsightClient(tcp, token("observe"))
    assert [summary.trace_id for summary in await acme.newest()] == [trace_id(1).hex()]
    assert len((await acme.trace(trace_id(1).hex())).spans) == 2
    assert len((await acme.trace(trace_id(3).hex())).spans) == 1
    for foreign in (2, 4):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await acme.trace(trace_id(foreign).hex())
        assert reason_of(raised.value) == "TRACE_NOT_FOUND"
    assert len(await InsightClient(tcp, token("observe operate")).newest()) == 4
