"""A flight as the command draws and tells it."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.cli.flights import document, ending, trace_of
from headrace.inference.v1.flight_pb2 import Flight
from headrace.insight.waterfall import waterfall

REFUSED = Flight(
    request_id="4f1c0a52-7d1e-4b8a-9d0f-2f5a3c1b7e60",
    replica="inference-0",
    method="inference.GRPCInferenceService/ModelInfer",
    tenant="acme",
    model="linear",
    code=8,
    reason="RATE_LIMITED",
    arrival_time=Timestamp(seconds=1_700_000_000),
    duration=Duration(nanos=200_000),
)
ANSWERED = Flight(
    replica="inference-1",
    method="inference.GRPCInferenceService/ModelInfer",
    tenant="acme",
    model="linear",
    arrival_time=Timestamp(seconds=1_700_000_001),
    duration=Duration(nanos=900),
    admitted_after=Duration(nanos=100),
    queued_after=Duration(nanos=200),
    started_after=Duration(nanos=300),
    computed_after=Duration(nanos=800),
    batch_rows=4,
    batch_sequence=7,
    batch_cut="idle",
)


def test_a_refusal_says_by_whom_and_why() -> None:
    """Replica, code, reason, and how far it had come."""
    assert ending(REFUSED) == (
        "acme's request 4f1c0a52-7d1e-4b8a-9d0f-2f5a3c1b7e60 for linear was refused by inference-0: "
        "RESOURCE_EXHAUSTED (RATE_LIMITED), while it looked at it, before it was admitted"
    )
    assert (document(REFUSED)["code"], document(REFUSED)["cost_nanos"]) == ("RESOURCE_EXHAUSTED", None)


def test_an_answer_says_from_where() -> None:
    """A batch, or a cache."""
    assert ending(ANSWERED).endswith("was answered by inference-1, from its batch 7 of 4 row(s)")
    cached = Flight(replica="inference-0", cache="near")
    assert ending(cached).endswith("was answered by inference-0, from the cache (near)")
    left = Flight(replica="inference-0", code=1, admitted_after=Duration())
    assert ending(left).endswith("was given up by its caller while inference-0 had it waiting")


def test_a_flight_is_a_waterfall() -> None:
    """The call and what is known inside of it, each try of a request a tree of its own."""
    rows = waterfall(trace_of([REFUSED, ANSWERED]).spans)
    method = "inference.GRPCInferenceService/ModelInfer"
    assert [(row.label, row.depth) for row in rows] == [
        (method, 0), (method, 0), ("admission", 1), ("queue", 1), ("batch", 1)
    ]  # fmt: skip
    assert rows[0].span.failed
    assert rows[0].span.status_message == "RATE_LIMITED"
    assert [row.duration_ns for row in rows[1:]] == [900, 100, 100, 500]
