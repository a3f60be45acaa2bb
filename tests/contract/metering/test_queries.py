"""QueryCost and GetPriceBook over the wire."""

from collections.abc import Callable

import grpc
import pytest

from headrace.metering.client import MeteringClient, Unmetered
from headrace.metering.core.prices import DEFAULT_BOOK
from headrace.metering.v1.metering_service_pb2 import CostDimension, QueryCostRequest
from headrace.metering.v1.metering_service_pb2_grpc import MeteringServiceStub
from tests.contract.metering.conftest import Credentials
from tests.contract.metering.test_record import answers, request
from tests.fakes.metering import NOON_MS, event

NOON_S = NOON_MS // 1000


async def test_costs_are_told_as_asked(local: grpc.aio.Channel, client: MeteringClient) -> None:
    """By tenant and model, or as one row; with the period that was asked for."""
    await answers(local, request(3))
    report = await client.cost(by_tenant=True, by_model=True)
    (row,) = report.rows
    assert (row.tenant, row.model, row.requests, row.cached) == ("acme", "linear", 3, 0)
    assert (row.cost.compute, row.cost.network, row.cost.storage, row.cost.api) == (3, 30, 0, 3_000_000)
    assert (report.currency, report.since_s) == ("USD", NOON_S)
    (row,) = (await client.cost()).rows
    assert (row.tenant, row.model, row.cost.total) == ("", "", 3_000_033)


async def test_a_period_without_usage_has_no_rows(local: grpc.aio.Channel, client: MeteringClient) -> None:
    """And is told with its bounds."""
    await answers(local, request(1))
    report = await client.cost(NOON_S - 10, NOON_S)
    assert (report.rows, report.since_s, report.until_s) == ((), NOON_S - 10, NOON_S)


async def test_an_empty_ledger_answers(client: MeteringClient) -> None:
    """No rows, no division by nothing."""
    assert (await client.cost()).rows == ()


async def test_the_price_book_is_told(client: MeteringClient) -> None:
    """The one that holds now."""
    assert await client.price_book() == DEFAULT_BOOK


async def test_a_dimension_must_be_one(
    tcp: grpc.aio.Channel, client: MeteringClient, token: Callable[[str], Credentials]
) -> None:
    """UNSPECIFIED is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await MeteringServiceStub(tcp).QueryCost(
            QueryCostRequest(group_by=[CostDimension.COST_DIMENSION_UNSPECIFIED]), metadata=token("observe")
        )
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_asking_needs_a_scope(local: grpc.aio.Channel, tcp: grpc.aio.Channel, token: Callable[[str], Credentials]) -> None:  # fmt: skip
    """Neither a replica's socket nor a client's token may read what others pay."""
    for client, code in (
        (MeteringClient(tcp), grpc.StatusCode.UNAUTHENTICATED),
        (MeteringClient(tcp, token("infer")), grpc.StatusCode.PERMISSION_DENIED),
        (MeteringClient(local), grpc.StatusCode.PERMISSION_DENIED),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.cost()
        assert error.value.code() is code


def test_nothing_is_metered_without_metering() -> None:
    """The log that stands in has room for everything and remembers nothing."""
    usage = Unmetered()
    assert usage.reserve()
    usage.cancel()
    assert usage.record(event()) is None
    assert usage.pending == 0
