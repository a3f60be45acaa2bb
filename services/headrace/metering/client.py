"""What neighbours import: record usage, drain what a dead process left, ask what it cost."""

import grpc

from headrace.metering.core.edge_line import EDGE_LINE
from headrace.metering.core.prices import PriceBook
from headrace.metering.core.shares import split_by_rows
from headrace.metering.errors import CODES, outbox_full
from headrace.metering.log import Unmetered, UsageLog, metering_usage
from headrace.metering.sweeper import sweep
from headrace.metering.usage import (
    Cost,
    CostReport,
    CostRow,
    EdgeComparison,
    EdgeCount,
    EdgeReport,
    UsageEvent,
    UsageKind,
)
from headrace.metering.v1.metering_service_pb2 import (
    CostDimension,
    GetEdgeSummaryRequest,
    GetPriceBookRequest,
    QueryCostRequest,
)
from headrace.metering.v1.metering_service_pb2 import CostRow as CostRowMessage
from headrace.metering.v1.metering_service_pb2_grpc import MeteringServiceStub
from headrace.metering.wire import book_from, summary_from, timestamp_s

__all__ = [
    "CODES",
    "EDGE_LINE",
    "Cost",
    "CostReport",
    "CostRow",
    "EdgeComparison",
    "EdgeCount",
    "EdgeReport",
    "MeteringClient",
    "PriceBook",
    "Unmetered",
    "UsageEvent",
    "UsageKind",
    "UsageLog",
    "metering_usage",
    "outbox_full",
    "split_by_rows",
    "sweep",
]


class MeteringClient:
    """One metering behind a channel that its caller opened and closes.

    `credentials` is the call metadata that carries the caller's token (see
    `runtime.channels.bearer`); its scope must include `observe`. Every method
    raises `grpc.aio.AioRpcError`.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        credentials: tuple[tuple[str, str], ...] = (),
        *,
        deadline_s: float = 10.0,
    ) -> None:
        self._stub = MeteringServiceStub(channel)
        self._credentials = credentials
        self._deadline_s = deadline_s

    async def cost(
        self,
        since_s: int | None = None,
        until_s: int | None = None,
        *,
        by_tenant: bool = False,
        by_model: bool = False,
    ) -> CostReport:
        """What was used from `since_s` until before `until_s`, seconds since 1970; None: no bound."""
        request = QueryCostRequest(
            since_time=None if since_s is None else timestamp_s(since_s),
            until_time=None if until_s is None else timestamp_s(until_s),
            group_by=_dimensions(by_tenant=by_tenant, by_model=by_model),
        )
        answer = await self._stub.QueryCost(request, timeout=self._deadline_s, metadata=self._credentials)
        return CostReport(
            answer.currency,
            answer.since_time.seconds,
            answer.until_time.seconds,
            tuple(_cost_row(row, answer.currency) for row in answer.rows),
        )

    async def edge(
        self, since_s: int | None = None, *, by_tenant: bool = False, by_model: bool = False
    ) -> EdgeReport:
        """What the gateway saw from the minute of `since_s` on, beside the ledger; None: from the first event."""
        request = GetEdgeSummaryRequest(
            since_time=None if since_s is None else timestamp_s(since_s),
            group_by=_dimensions(by_tenant=by_tenant, by_model=by_model),
        )
        answer = await self._stub.GetEdgeSummary(
            request, timeout=self._deadline_s, metadata=self._credentials
        )
        return summary_from(answer)

    async def price_book(self) -> PriceBook:
        """The price book that holds now."""
        answer = await self._stub.GetPriceBook(
            GetPriceBookRequest(), timeout=self._deadline_s, metadata=self._credentials
        )
        return book_from(answer.price_book)


def _dimensions(*, by_tenant: bool, by_model: bool) -> list[CostDimension.ValueType]:
    wanted = {
        CostDimension.COST_DIMENSION_TENANT: by_tenant,
        CostDimension.COST_DIMENSION_MODEL: by_model,
    }
    return [dimension for dimension, asked in wanted.items() if asked]


def _cost_row(row: CostRowMessage, currency: str) -> CostRow:
    cost = Cost(row.compute_nanos, row.network_nanos, row.storage_nanos, row.api_nanos, currency)
    return CostRow(
        row.tenant, row.model, row.requests, row.cached, cost, row.wasted_requests, row.waste_nanos
    )
