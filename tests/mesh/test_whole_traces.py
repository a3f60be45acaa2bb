"""Hundreds of sampled requests, in the long form a thousand, of every kind and ending: each trace whole, and exactly those that the ratio names."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import grpc
import httpx
import pytest

from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from headrace.insight.v1.insight_service_pb2 import GetTraceRequest, ListTracesRequest
from headrace.insight.v1.insight_service_pb2_grpc import InsightServiceStub
from headrace.insight.v1.trace_pb2 import SPAN_KIND_SERVER
from tests.conftest import MeshOf
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, MeshOptions, bearer
from tests.support.metered import asked, rest_body
from tests.support.requests import distinct_rows, linear, slow
from tests.support.traces import Trace
from tests.support.waiting import eventually

RATIO_MILLIONTHS = 250_000
QUARTER = MeshOptions(
    replicas=2,
    config=f"telemetry: {{sample_ratio: {RATIO_MILLIONTHS / 1_000_000}}}\n",
    limits=(
        "limits: {rate: 1000000, burst: 1000000, concurrency: 100000, breaker: {failures: 10000}, "
        "tenants: {scarce: {rate: 0.001, burst: 5}}}\n"
    ),
    # insight keeps 50 traces a second by itself; here all of them are looked for.
    env={"HEADRACE_INSIGHT_TRACE_RATE": "1000000", "HEADRACE_INSIGHT_TRACE_BURST": "1000000"},
)
ROUNDS, FULL = 120, 420
"""Of ten requests each, a quarter of them sampled: 300 and 1,050 on the average."""
THREADS = 8
STORED_WITHIN_S = 60.0
WHOLE = 0.999
CLIENTS_SPAN = "b7ad6b7169203331"
MODEL_INFER = "inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Sent:
    """A request: its trace, the client's span that it was sent under, its code, how many rows were executed with it."""

    trace_id: str
    parent: str = ""
    code: str = "OK"
    batch_rows: int = 0

    @property
    def named(self) -> bool:
        """Whether the gateway's rule samples it: by the first eight bytes of the trace's identifier."""
        number = int.from_bytes(bytes.fromhex(self.trace_id)[:8], "little")
        return number % 1_000_000 < RATIO_MILLIONTHS


@pytest.fixture(scope="module")
def quarter(mesh_of: MeshOf) -> Mesh:
    """Two replicas, a quarter of whose traces is sampled and all of those kept."""
    return mesh_of(QUARTER)


@pytest.fixture(scope="module", params=[ROUNDS, pytest.param(FULL, marks=pytest.mark.slow)])
def sent(request: pytest.FixtureRequest, quarter: Mesh) -> list[Sent]:
    """Everything that was sent, once all of it has ended."""
    shares = [range(place, request.param, THREADS) for place in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as threads:
        return [one for some in threads.map(partial(_all, quarter), shares) for one in some]


@pytest.fixture(scope="module")
def stored(quarter: Mesh, sent: list[Sent]) -> Mapping[str, Trace]:
    """What insight has of each trace, as soon as it has those that are sampled."""
    named = {one.trace_id: one for one in sent if one.named}
    found: dict[str, Trace] = {}

    def arrived() -> bool:
        missing = [key for key, one in named.items() if not _complete(one, found.get(key))]
        found.update(_asked(quarter, missing))
        return not missing

    eventually(arrived, "the sampled traces are stored", STORED_WITHIN_S)
    return found | _asked(quarter, [one.trace_id for one in sent if not one.named])


def test_every_sampled_trace_is_whole(sent: list[Sent], stored: Mapping[str, Trace]) -> None:
    """One root, the gateway's; no span without its parent; the replica's span in it. Of a thousand and more in the long form."""
    named = [one for one in sent if one.named]
    assert len(named) >= len(sent) / 5
    broken = {one.trace_id: fault for one in named if (fault := _fault(one, stored[one.trace_id]))}
    assert len(broken) <= len(named) * (1 - WHOLE), broken
    assert not [fault for fault in broken.values() if fault.startswith("orphan")], broken
    endings = {one.code for one in named}
    assert endings >= {"OK", "NOT_FOUND", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "CANCELLED", "INTERNAL"}


def test_the_rule_decides_what_is_sampled(sent: list[Sent], stored: Mapping[str, Trace]) -> None:
    """About a quarter, and of all requests exactly those whose identifier says so, a client's own flag or not."""
    assert {one.trace_id for one in sent if one.named} == set(stored)
    own = [one for one in sent if not one.parent]
    assert 0.15 < sum(one.named for one in own) / len(own) < 0.35


def test_every_part_of_the_mesh_is_in_some_trace(stored: Mapping[str, Trace]) -> None:
    """Gateway, replica, the wait for guard on its stream, near-cache, cache service, queue and batch."""
    services = {span.service for trace in stored.values() for span in (*trace.spans, *trace.linked)}
    names = {span.name for trace in stored.values() for span in (*trace.spans, *trace.linked)}
    assert services >= {"gateway", "inference", "cache"}
    assert names >= {"queue", "batch", "guard", "near-cache"}


def test_what_was_executed_is_linked_with_its_batch(sent: list[Sent], stored: Mapping[str, Trace]) -> None:
    """Each sampled request that a batch executed, both ways."""
    for one in (one for one in sent if one.named and one.batch_rows):
        trace = stored[one.trace_id]
        (server,) = [span for span in trace.of("inference") if span.kind == SPAN_KIND_SERVER]
        (batch,) = trace.linked
        assert batch.name == "batch"
        assert (server.trace_id, server.span_id) in {(link.trace_id, link.span_id) for link in batch.links}


def test_a_tenant_sees_its_own_traces_only(quarter: Mesh, sent: list[Sent]) -> None:
    """By the gateway's word for whose request it was: its own whole, another's not at all."""
    (mine, theirs) = (
        next(one for one in sent if one.named and one.code == code)
        for code in ("RESOURCE_EXHAUSTED", "NOT_FOUND")
    )
    token = quarter.token("scarce", "observe")
    assert set(_asked(quarter, [mine.trace_id, theirs.trace_id], token)) == {mine.trace_id}
    (trace,) = _asked(quarter, [mine.trace_id], token).values()
    assert _fault(mine, trace) == ""
    assert len(trace.spans) == len(_asked(quarter, [mine.trace_id])[mine.trace_id].spans)
    with quarter.insight() as stub:
        listed = stub.ListTraces(
            ListTracesRequest(limit=1000), timeout=CALL_TIMEOUT_S, metadata=bearer(token)
        ).traces
    assert {one.trace_id for one in listed} <= {one.trace_id for one in sent if one.code in SCARCE_ENDINGS}
    assert mine.trace_id in {one.trace_id for one in listed}


SCARCE_ENDINGS = ("RESOURCE_EXHAUSTED", "OK")


def _all(mesh: Mesh, rounds: Sequence[int]) -> list[Sent]:
    """The rounds of one client, on connections of its own."""
    tokens = mesh.demo_token, mesh.token("scarce", "infer")
    with mesh.inference() as stub, mesh.http(mesh.demo_token) as http:
        return [one for number in rounds for one in _round(stub, http, tokens, number)]


def _round(
    stub: GRPCInferenceServiceStub, http: httpx.Client, tokens: tuple[str, str], number: int
) -> Iterator[Sent]:
    """Ten requests: executed, cached, mistaken, failing, refused, by REST, given up."""
    rows, (demo, scarce) = distinct_rows(4, number), tokens
    often = linear(distinct_rows(1, number % 20), model="linear-cached")
    mistakes = linear(rows[:1], model="none"), linear(rows[:, :3])
    for request in (linear(rows[:1]), linear(rows[1:]), often, often, *mistakes, slow(1, poison=True)):
        yield _ended(asked(stub, request, demo))
    yield _ended(asked(stub, linear(rows[:1]), scarce))
    response = http.post("/v2/models/linear/infer", json=rest_body(rows[0].tolist()))
    yield Sent(response.headers["headrace-trace-id"], batch_rows=int(response.headers["headrace-batch-size"]))
    yield _given_up(stub, demo, number)


def _ended(call: Any) -> Sent:
    """What the call's answer tells of it."""
    call.exception()
    told = dict(call.trailing_metadata())
    return Sent(told["headrace-trace-id"], "", call.code().name, int(told.get("headrace-batch-size", 0)))


def _given_up(stub: GRPCInferenceServiceStub, token: str, number: int) -> Sent:
    """A request in a trace of the client's own, which says that it is sampled, cancelled while it waits or runs."""
    trace_id = f"{Random(number).getrandbits(128):032x}"
    call = asked(stub, slow(40), token, ("traceparent", f"00-{trace_id}-{CLIENTS_SPAN}-01"))
    try:
        call.result(timeout=0.01)
    except grpc.FutureTimeoutError:
        call.cancel()
    return Sent(trace_id, CLIENTS_SPAN, call.code().name)


def _asked(mesh: Mesh, trace_ids: Sequence[str], token: str = "") -> dict[str, Trace]:
    """Those of the traces that are stored, many asked for at once."""
    found: dict[str, Trace] = {}
    metadata = bearer(token or mesh.operator_token)
    with mesh.insight() as stub:
        for place in range(0, len(trace_ids), 32):
            some = trace_ids[place : place + 32]
            calls = [_trace_call(stub, trace_id, metadata) for trace_id in some]
            for trace_id, call in zip(some, calls, strict=True):
                if call.exception() is None:
                    found[trace_id] = Trace(call.result().spans, call.result().linked_spans)
                else:
                    assert call.code() is grpc.StatusCode.NOT_FOUND, call.details()
    return found


def _trace_call(stub: InsightServiceStub, trace_id: str, metadata: Any) -> Any:
    return stub.GetTrace.future(GetTraceRequest(trace_id=trace_id), timeout=CALL_TIMEOUT_S, metadata=metadata)


def _complete(one: Sent, trace: Trace | None) -> bool:
    """Whether both ends have arrived; a request that was given up may not have come as far as a replica."""
    return trace is not None and bool(trace.of("gateway")) and (bool(trace.of("inference")) or given_up(one))


def given_up(one: Sent) -> bool:
    return one.code == "CANCELLED"


def _fault(one: Sent, trace: Trace) -> str:
    """What is wrong with the trace of this request; nothing for a whole one."""
    known = {span.span_id for span in trace.spans}
    roots = [span for span in trace.spans if span.parent_span_id == one.parent]
    orphans = [span.name for span in trace.spans if span.parent_span_id not in {*known, one.parent}]
    if orphans:
        return f"orphans {orphans}"
    if [root.service for root in roots] != ["gateway"]:
        return f"roots {[root.name for root in roots]}"
    if not given_up(one) and not [span for span in trace.of("inference") if span.kind == SPAN_KIND_SERVER]:
        return "no span of the replica"
    return ""
