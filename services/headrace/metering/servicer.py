"""The RPCs: decode, ask the ledger, encode."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from headrace.metering.core.batch import Batch
from headrace.metering.core.prices import PriceBooks
from headrace.metering.errors import field_invalid
from headrace.metering.ledger import Recorded, Recording
from headrace.metering.streams import until
from headrace.metering.usage import CostReport, CostRow, EdgeReport, Question
from headrace.metering.v1 import metering_service_pb2 as pb
from headrace.metering.wire import batch_from, book_message, milliseconds, summary_message, timestamp_s
from headrace.runtime.access import OPERATE
from headrace.runtime.clock import Clock
from headrace.runtime.rpc import Call

MAX_SEQUENCE = 2**62
"""Far above any, and a batch later still a number that SQLite holds."""
MAX_TEXT = 200


class Records(Protocol):
    """Where usage is recorded."""

    async def record(self, recording: Recording) -> Recorded:
        """Records the batch, durably when it returns."""
        ...


class Costs(Protocol):
    """Who knows what it cost."""

    async def report(self, asked: Question) -> CostReport:
        """What was used in the period."""
        ...


class Edge(Protocol):
    """Who knows what the gateway saw."""

    def recorded(self, batch: Batch) -> None:
        """Compares events that were stored."""
        ...

    async def report(self, asked: Question) -> EdgeReport:
        """What the gateway saw in the period."""
        ...


class MeteringServicer:
    """headrace.metering.v1.MeteringService."""

    def __init__(self, records: Records, costs: Costs, edge: Edge, books: PriceBooks, clock: Clock) -> None:
        self._records = records
        self._costs = costs
        self._edge = edge
        self._books = books
        self._clock = clock
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Ends the streams, each after what it is recording: they would outlast any grace."""
        self._draining.set()

    async def Record(
        self, requests: AsyncIterator[pb.RecordRequest], _call: Call
    ) -> AsyncIterator[pb.RecordResponse]:
        yield pb.RecordResponse(price_books=map(book_message, self._books.all))
        async for request in until(self._draining, requests):
            recording = _recording(request)
            recorded = await self._records.record(recording)
            if recorded.events:  # the newest ones: what comes again was compared before
                self._edge.recorded(recording.batch.after(len(recording.batch) - recorded.events))
            yield pb.RecordResponse(acknowledged_sequence=recorded.watermark)

    async def QueryCost(self, request: pb.QueryCostRequest, call: Call) -> pb.QueryCostResponse:
        report = await self._costs.report(_asked(request, call))
        return pb.QueryCostResponse(
            currency=report.currency,
            since_time=timestamp_s(report.since_s),
            until_time=timestamp_s(report.until_s),
            rows=map(_row_message, report.rows),
        )

    async def GetPriceBook(self, request: pb.GetPriceBookRequest, _call: Call) -> pb.GetPriceBookResponse:
        asked = request.HasField("at_time")
        at_ms = milliseconds(request.at_time) if asked else self._clock.time_ns() // 10**6
        return pb.GetPriceBookResponse(price_book=book_message(self._books.at(at_ms)))

    async def GetEdgeSummary(
        self, request: pb.GetEdgeSummaryRequest, call: Call
    ) -> pb.GetEdgeSummaryResponse:
        return summary_message(await self._edge.report(_asked(request, call)))


def _asked(request: pb.QueryCostRequest | pb.GetEdgeSummaryRequest, call: Call) -> Question:
    if pb.COST_DIMENSION_UNSPECIFIED in request.group_by:
        raise field_invalid("group_by", "must name tenant or model")
    return Question(
        request.since_time.seconds if request.HasField("since_time") else None,
        request.until_time.seconds if request.HasField("until_time") else None,
        pb.COST_DIMENSION_TENANT in request.group_by,
        pb.COST_DIMENSION_MODEL in request.group_by,
        # Who operates the mesh sees everybody's, whoever else may ask what is his own tenant's.
        None if OPERATE in call.caller.scopes else call.caller.tenant,
    )


def _recording(request: pb.RecordRequest) -> Recording:
    for field in ("source", "incarnation"):
        if not 0 < len(getattr(request, field)) <= MAX_TEXT:
            raise field_invalid(field, f"must have 1 to {MAX_TEXT} characters")
    if not 0 < request.first_sequence < MAX_SEQUENCE:
        raise field_invalid("first_sequence", f"must be between 1 and {MAX_SEQUENCE - 1}")
    return Recording(
        request.source,
        request.incarnation,
        request.first_sequence,
        request.oldest_sequence,
        batch_from(request.batch),
        request.batch.SerializeToString(),
    )


def _row_message(row: CostRow) -> pb.CostRow:
    return pb.CostRow(
        tenant=row.tenant,
        model=row.model,
        requests=row.requests,
        cached=row.cached,
        compute_nanos=row.cost.compute,
        network_nanos=row.cost.network,
        storage_nanos=row.cost.storage,
        api_nanos=row.cost.api,
        wasted_requests=row.wasted_requests,
        waste_nanos=row.waste,
    )
