"""Between the contract's messages and our own values: price books, the edge's figures, batches of rows."""

from dataclasses import asdict, fields

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.metering.core.batch import Batch, Ints, Keys, Name
from headrace.metering.core.bounds import (
    MAX_BYTES,
    MAX_EVENTS,
    MAX_NAME_BYTES,
    MAX_STORED_MS,
    MAX_TIME_MS,
    MAX_TIME_NS,
)
from headrace.metering.core.edge import Outcome
from headrace.metering.core.prices import PriceBook
from headrace.metering.core.rows import KEY_BYTES, NO_KEY, Rows
from headrace.metering.errors import batch_invalid
from headrace.metering.usage import EdgeComparison, EdgeCount, EdgeReport, UsageKind
from headrace.metering.v1 import edge_pb2, metering_service_pb2, price_pb2, usage_pb2

COLUMNS = (
    ("codes", "code"),
    ("rows", "rows"),
    ("times_ms", "time_ms"),
    ("cpu_ns", "cpu_ns"),
    ("gpu_ns", "gpu_ns"),
    ("request_bytes", "request_bytes"),
    ("response_bytes", "response_bytes"),
    ("stored_bytes", "stored_bytes"),
    ("stored_ms", "stored_ms"),
    ("price_versions", "price_version"),
)
"""Fields of a batch that hold numbers, and the row's field of each."""
BOUNDS = {
    "time_ms": MAX_TIME_MS,
    "cpu_ns": MAX_TIME_NS,
    "gpu_ns": MAX_TIME_NS,
    "request_bytes": MAX_BYTES,
    "response_bytes": MAX_BYTES,
    "stored_bytes": MAX_BYTES,
    "stored_ms": MAX_STORED_MS,
}


def batch_message(rows: Rows, names: list[Name]) -> usage_pb2.UsageBatch:
    """The rows as columns; names are those that occur in them."""
    used, indexes = np.unique(rows["name"], return_inverse=True)
    batch = usage_pb2.UsageBatch(
        names=[_name_message(names[index - 1]) for index in used.tolist()],
        name_indexes=indexes.tolist(),
        kinds=rows["kind"].tolist(),
        billing_keys=rows["billing_key"].tobytes(),
    )
    for field, column in COLUMNS:
        getattr(batch, field).extend(rows[column].tolist())
    digests = rows["digest"].tobytes()
    if digests != NO_KEY * len(rows):
        batch.digests = digests
    return batch


def _name_message(name: Name) -> usage_pb2.UsageName:
    return usage_pb2.UsageName(tenant=name[0], model=name[1], model_version=name[2])


def book_message(book: PriceBook) -> price_pb2.PriceBook:
    """The contract's price book."""
    return price_pb2.PriceBook(
        version=book.version,
        currency=book.currency,
        effective_time=timestamp_ms(book.effective_ms),
        gpu_hour_nanos=book.gpu_hour,
        cpu_hour_nanos=book.cpu_hour,
        storage_gb_month_nanos=book.storage_gb_month,
        api_call_nanos=book.api_call,
        network_gb_nanos=book.network_gb,
    )


def book_from(message: price_pb2.PriceBook) -> PriceBook:
    """Our price book."""
    return PriceBook(
        version=message.version,
        currency=message.currency,
        effective_ms=milliseconds(message.effective_time),
        gpu_hour=message.gpu_hour_nanos,
        cpu_hour=message.cpu_hour_nanos,
        storage_gb_month=message.storage_gb_month_nanos,
        api_call=message.api_call_nanos,
        network_gb=message.network_gb_nanos,
    )


def summary_message(report: EdgeReport) -> metering_service_pb2.GetEdgeSummaryResponse:
    """The contract's summary."""
    return metering_service_pb2.GetEdgeSummaryResponse(
        since_time=timestamp_s(report.since_s),
        until_time=timestamp_s(report.until_s),
        counts=(edge_pb2.EdgeCount(**asdict(count)) for count in report.counts),
        comparisons=(edge_pb2.EdgeComparison(**asdict(row)) for row in report.comparisons),
        waiting=report.waiting,
    )


def summary_from(message: metering_service_pb2.GetEdgeSummaryResponse) -> EdgeReport:
    """Our summary; an outcome that this version does not know raises ValueError."""
    return EdgeReport(
        message.since_time.seconds,
        message.until_time.seconds,
        tuple(
            EdgeCount(one.tenant, Outcome(one.outcome), one.requests, one.received_bytes, one.sent_bytes)
            for one in message.counts
        ),
        tuple(
            EdgeComparison(*(getattr(row, field.name) for field in fields(EdgeComparison)))
            for row in message.comparisons
        ),
        message.waiting,
    )


def timestamp_ms(ms: int) -> Timestamp:
    """Milliseconds since 1970 as the contract has them."""
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 10**6)


def timestamp_s(seconds: int) -> Timestamp:
    """Seconds since 1970 as the contract has them."""
    return Timestamp(seconds=seconds)


def milliseconds(time: Timestamp) -> int:
    """Milliseconds since 1970, rounded down."""
    return time.seconds * 1000 + time.nanos // 10**6


def batch_from(message: usage_pb2.UsageBatch) -> Batch:
    """The batch's columns; raises BATCH_INVALID, naming the column."""
    count = len(message.kinds)
    if not 0 < count <= MAX_EVENTS:
        raise batch_invalid("kinds", f"a batch has 1 to {MAX_EVENTS} events, not {count}")
    names = tuple(_name_from(name) for name in message.names)
    numbers = {column: _numbers(message, field, count) for field, column in COLUMNS}
    name = _numbers(message, "name_indexes", count)
    if name.max() >= len(names):
        raise batch_invalid("name_indexes", "names a position that `names` has not")
    kind = _numbers(message, "kinds", count)
    if not 0 < kind.min() <= kind.max() <= max(UsageKind):
        raise batch_invalid("kinds", "a kind that this version does not know")
    for column, bound in BOUNDS.items():
        if numbers[column].max() > bound:
            raise batch_invalid(column, f"a value above {bound}")
    return Batch(
        names,
        name,
        kind,
        **numbers,
        billing_key=_keys("billing_keys", message.billing_keys, count),
        digest=_keys("digests", message.digests or NO_KEY * count, count),
    )


def _numbers(message: usage_pb2.UsageBatch, field: str, count: int) -> Ints:
    values = getattr(message, field)
    if len(values) != count:
        raise batch_invalid(field, f"has {len(values)} values for {count} events")
    # Unsigned on the wire; what does not fit 63 bits is above every bound.
    found = np.fromiter(values, np.uint64, count)
    if found.max() >= 2**63:
        raise batch_invalid(field, "a value above every bound")
    return found.astype(np.int64)


def _keys(field: str, data: bytes, count: int) -> Keys:
    if len(data) != KEY_BYTES * count:
        raise batch_invalid(field, f"has {len(data)} bytes for {count} events of {KEY_BYTES}")
    return np.frombuffer(data, f"V{KEY_BYTES}")


def _name_from(message: usage_pb2.UsageName) -> Name:
    name = (message.tenant, message.model, message.model_version)
    if not message.tenant or not message.model:
        raise batch_invalid("names", "a name without tenant or model")
    if sum(len(part.encode()) for part in name) > MAX_NAME_BYTES:
        raise batch_invalid("names", f"a name of more than {MAX_NAME_BYTES} bytes")
    return name
