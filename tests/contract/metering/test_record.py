"""Record over the wire."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from headrace.metering.reader import LedgerReader
from headrace.metering.v1.metering_service_pb2 import RecordRequest, RecordResponse
from headrace.metering.v1.metering_service_pb2_grpc import MeteringServiceStub
from headrace.metering.v1.usage_pb2 import UsageBatch
from tests.contract.metering.conftest import Credentials
from tests.fakes.metering import event, recording


def request(count: int, first: int = 1, **changes: Any) -> RecordRequest:
    """A batch of so many events."""
    found = recording([event()] * count, first)
    message = RecordRequest(
        source=found.source,
        incarnation=found.incarnation,
        first_sequence=first,
        oldest_sequence=1,
        batch=UsageBatch.FromString(found.message),
    )
    for name, value in changes.items():
        setattr(message, name, value)
    return message


async def answers(
    channel: grpc.aio.Channel, *requests: RecordRequest, credentials: Credentials = ()
) -> list[RecordResponse]:
    """All answers of one stream."""
    call: Any = MeteringServiceStub(channel).Record(iter(requests), metadata=credentials)
    return [answer async for answer in call]


async def test_the_first_answer_has_the_prices(local: grpc.aio.Channel) -> None:
    """They come before anything was sent."""
    (first,) = await answers(local)
    assert [book.version for book in first.price_books] == [1]
    assert first.acknowledged_sequence == 0


async def test_each_batch_is_acknowledged_when_it_is_stored(
    local: grpc.aio.Channel, ledger: LedgerReader
) -> None:
    """New ones, one that comes again, one that comes too early."""
    _, *found = await answers(local, request(3), request(3), request(2, 4), request(2, 9))
    assert [answer.acknowledged_sequence for answer in found] == [3, 3, 5, 5]
    assert ledger.audit().events == 5
    assert ledger.audit().sound


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"source": ""}, "FIELD_INVALID", "source"),
        ({"incarnation": "x" * 201}, "FIELD_INVALID", "incarnation"),
        ({"first_sequence": 0}, "FIELD_INVALID", "first_sequence"),
        ({"first_sequence": 2**63}, "FIELD_INVALID", "first_sequence"),
    ],
)
async def test_a_request_that_can_not_be_served_is_named(
    local: grpc.aio.Channel, changes: dict[str, Any], reason: str, field: str
) -> None:
    """INVALID_ARGUMENT, with the field in the details."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await answers(local, request(1, **changes))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    info, bad = details(error.value)
    assert (info.reason, bad.field_violations[0].field) == (reason, field)


async def test_a_batch_that_can_not_be_read_is_refused(local: grpc.aio.Channel, ledger: LedgerReader) -> None:
    """INVALID_ARGUMENT in metering's own domain; what came before it on the stream is stored."""
    damaged = request(2, 2)
    damaged.batch.rows.append(1)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await answers(local, request(1), damaged)
    info, bad = details(error.value)
    assert (info.domain, info.reason) == ("metering.headrace", "BATCH_INVALID")
    assert bad.field_violations[0].field == "batch.rows"
    assert ledger.audit().events == 1


async def test_recording_is_an_operators_matter(
    tcp: grpc.aio.Channel, token: Callable[[str], Credentials]
) -> None:
    """Over TCP: no token, too small a scope, the scope that it needs."""
    for credentials, code in (
        ((), grpc.StatusCode.UNAUTHENTICATED),
        (token("infer observe"), grpc.StatusCode.PERMISSION_DENIED),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await answers(tcp, credentials=credentials)
        assert error.value.code() is code
    _, stored = await answers(tcp, request(1), credentials=token("operate"))
    assert stored.acknowledged_sequence == 1


def details(error: grpc.aio.AioRpcError) -> tuple[Any, Any]:
    """ErrorInfo and BadRequest of an error."""
    trailing: Any = dict(iter(error.trailing_metadata()))  # type: ignore[arg-type]  # pairs of name and value
    status = Status.FromString(trailing["grpc-status-details-bin"])
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad)
    return info, bad
