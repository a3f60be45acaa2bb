"""Between the contract's messages and our own values: price books, costs, batches of rows."""

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.metering.core.prices import PriceBook
from headrace.metering.core.rows import NO_KEY, Rows
from headrace.metering.v1 import price_pb2, usage_pb2

Name = tuple[str, str, str]

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


def timestamp_ms(ms: int) -> Timestamp:
    """Milliseconds since 1970 as the contract has them."""
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 10**6)


def timestamp_s(seconds: int) -> Timestamp:
    """Seconds since 1970 as the contract has them."""
    return Timestamp(seconds=seconds)


def milliseconds(time: Timestamp) -> int:
    """Milliseconds since 1970, rounded down."""
    return time.seconds * 1000 + time.nanos // 10**6
