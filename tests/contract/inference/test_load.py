"""Load reports: beside the requests by xds.service.orca.v3, with an answer when it was asked for."""

import asyncio
import json
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from headrace.inference.orca_servicer import MOST_STREAMS
from headrace.inference.xds.v3.orca_load_report_pb2 import OrcaLoadReport
from headrace.inference.xds.v3.orca_service_pb2 import OrcaLoadReportRequest
from headrace.inference.xds.v3.orca_service_pb2_grpc import OpenRcaServiceStub
from tests.contract.inference.conftest import Replica
from tests.contract.inference.test_contract import failure, request

FORMAT = "endpoint-load-metrics-format"
WITHIN_S = 10.0


def stream(replica: Replica, interval: Duration | None = None, *scopes: str) -> Any:
    """A stream of reports: a call to `read`."""
    asked = OrcaLoadReportRequest(report_interval=interval)
    metadata = replica.bearer(*scopes or ("observe",))
    return OpenRcaServiceStub(replica.channel).StreamCoreMetrics(asked, metadata=metadata, timeout=WITHIN_S)


async def test_the_service_is_orcas_own(replica: Replica) -> None:
    """Path, messages and numbers are those of cncf/xds: bytes that were written by their definition are read."""
    call = replica.channel.unary_stream(
        "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics",
        request_serializer=bytes,
        response_deserializer=bytes,
    )
    # report_interval (1) { nanos (2): 200000000 }
    answers = call(b"\x0a\x05\x10\x80\x84\xaf\x5f", metadata=replica.bearer("observe"), timeout=WITHIN_S)
    raw = await anext(aiter(answers))
    assert raw.startswith(b"\x09")  # cpu_utilization (1), a double
    assert b"\x42" in raw  # named_metrics (8)
    report = OrcaLoadReport.FromString(raw)
    assert 0.0 < report.cpu_utilization < 64.0
    assert 0.0 < report.mem_utilization <= 1.0


async def test_a_report_tells_the_requests_of_its_interval(replica: Replica) -> None:
    """Answered and failed ones by the second, how long an answer took, what waited; no GPU where there is none."""
    reports = stream(replica, Duration(seconds=1))
    await reports.read()
    for _ in range(20):
        await replica.stub.ModelInfer(request(), metadata=replica.bearer())
    await failure(replica.stub.ModelInfer(request(rows=33), metadata=replica.bearer()))
    report = await reports.read()
    while report.eps == 0.0:  # an interval that began behind the requests has none of them
        await replica.stub.ModelInfer(request(), metadata=replica.bearer())
        await failure(replica.stub.ModelInfer(request(rows=33), metadata=replica.bearer()))
        report = await reports.read()
    assert report.rps_fractional >= report.eps > 0.0
    assert 0.0 < report.named_metrics["response_s"] < WITHIN_S
    assert report.named_metrics["queue"] >= 0.0
    assert not report.utilization


async def test_the_interval_is_the_callers(replica: Replica) -> None:
    """Three reports of a tenth of a second come long before one of the default's ten seconds would."""
    async with asyncio.timeout(WITHIN_S / 2):
        reports = stream(replica, Duration())  # zero: the shortest there is
        for _ in range(3):
            await reports.read()


async def test_a_negative_interval_is_refused(replica: Replica) -> None:
    """INVALID_ARGUMENT names the field."""
    code, info, _ = await failure(stream(replica, Duration(seconds=-1)).read())
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert info.metadata["field"] == "report_interval"


async def test_load_is_for_who_observes(replica: Replica) -> None:
    """A tenant that may infer learns nothing of how busy the others keep the replica."""
    code, info, _ = await failure(stream(replica, None, "infer").read())
    assert (code, info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")


async def test_streams_are_bounded(replica: Replica) -> None:
    """One more than may be is refused with a time to come back; one that ended makes room."""
    open_ones = [stream(replica) for _ in range(MOST_STREAMS)]
    for one in open_ones:
        await one.read()
    code, info, _ = await failure(stream(replica).read())
    assert (code, info.reason) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
    open_ones.pop().cancel()
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                await stream(replica).read()
                break
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("asked", [None, "xml"])
async def test_an_answer_tells_no_load_unasked(replica: Replica, asked: str | None) -> None:
    """Nor in a form that there is not."""
    await stream(replica).read()
    metadata = (*replica.bearer(), *(((FORMAT, asked),) if asked else ()))
    call = replica.stub.ModelInfer(request(), metadata=metadata)
    await call
    assert not [name for name, _ in await call.trailing_metadata() if name.startswith("endpoint-load")]


@pytest.mark.parametrize("asked", ["text", "TEXT", "json"])
async def test_an_answer_tells_the_load_when_asked(replica: Replica, asked: str) -> None:
    """In text or JSON, as Triton's clients read it. gRPC's clients keep the binary trailer to themselves."""
    await stream(replica).read()  # the meter has read twice
    call = replica.stub.ModelInfer(request(), metadata=(*replica.bearer(), (FORMAT, asked)))
    await call
    told: dict[str, Any] = dict(await call.trailing_metadata())
    match asked.lower():
        case "text":
            assert told["endpoint-load-metrics"].startswith("TEXT cpu_utilization=")
        case "json":
            kind, _, document = told["endpoint-load-metrics"].partition(" ")
            assert (kind, set(json.loads(document)["named_metrics"])) == ("JSON", {"queue", "response_s"})
