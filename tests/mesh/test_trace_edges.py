"""One request is one trace: who called whom, and which batch executed it."""

from concurrent.futures import ThreadPoolExecutor

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.insight.v1.trace_pb2 import SPAN_KIND_SERVER, SPAN_STATUS_ERROR
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, bearer
from tests.support.requests import distinct_rows, linear
from tests.support.traces import Trace, links_to, trace

MODEL_INFER = "inference.GRPCInferenceService/ModelInfer"


def whole(found: Trace) -> bool:
    """Whether the spans of all three exporters have arrived."""
    return bool(found.of("gateway") and found.of("inference", MODEL_INFER) and found.linked)


def infer(mesh: Mesh, request: ModelInferRequest) -> str:
    """The trace's identifier, as the answer's trailing metadata tells it."""
    with mesh.inference() as stub:
        _, call = stub.ModelInfer.with_call(request, timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.demo_token))
        return str(dict(call.trailing_metadata())["headrace-trace-id"])


def test_gateway_calls_inference_and_inference_queues(hot_mesh: Mesh) -> None:
    """The gateway's span is the root, inference's server span its child, the wait in the queue a child of that."""
    found = trace(hot_mesh, infer(hot_mesh, linear(distinct_rows(1))), whole)
    (root,) = [span for span in found.spans if not span.parent_span_id]
    assert root.service == "gateway"
    (server,) = found.of("inference", MODEL_INFER)
    assert server.kind == SPAN_KIND_SERVER
    parent = found.parent_of(server)
    assert parent is not None
    assert parent.service == "gateway"
    (queue,) = found.of("inference", "queue")
    assert found.parent_of(queue) == server
    orphans = [span.name for span in found.spans if span.parent_span_id and not found.parent_of(span)]
    assert not orphans


def test_request_and_batch_are_linked_both_ways(hot_mesh: Mesh) -> None:
    """The batch is a trace of its own; its span and the request's point at each other."""
    found = trace(hot_mesh, infer(hot_mesh, linear(distinct_rows(1))), whole)
    (server,) = found.of("inference", MODEL_INFER)
    (batch,) = found.linked
    assert (batch.name, batch.service) == ("batch", "inference")
    assert batch.trace_id != server.trace_id
    assert batch.attributes["headrace.model"] == "linear"
    assert links_to(server, batch)
    assert links_to(batch, server)


def test_batch_links_to_every_request_that_it_executed(mesh: Mesh) -> None:
    """Requests that one batch executed are all linked from its span, as many as its size says."""
    with ThreadPoolExecutor(16) as threads:
        rows = distinct_rows(16)
        requests = [linear(rows[number : number + 1]) for number in range(16)]
        identifiers = list(threads.map(lambda request: infer(mesh, request), requests))
    batches = {
        found.linked[0].span_id: found.linked[0] for found in (trace(mesh, one, whole) for one in identifiers)
    }
    linked = [link.trace_id for batch in batches.values() for link in batch.links]
    assert sorted(linked) == sorted(identifiers)
    for batch in batches.values():
        assert len(batch.links) == int(batch.attributes["headrace.batch.requests"])


def test_clients_trace_goes_on(mesh: Mesh) -> None:
    """A request with a W3C traceparent stays in its client's trace."""
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    metadata = (*bearer(mesh.demo_token), ("traceparent", f"00-{trace_id}-b7ad6b7169203331-01"))
    with mesh.inference() as stub:
        stub.ModelInfer(linear(distinct_rows(1)), timeout=CALL_TIMEOUT_S, metadata=metadata)
    found = trace(mesh, trace_id, whole)
    roots = [span for span in found.spans if span.parent_span_id == "b7ad6b7169203331"]
    assert [span.service for span in roots] == ["gateway"]


def test_rest_request_is_traced_to_its_batch(mesh: Mesh) -> None:
    """A REST request's trace has the same edges: gateway, inference, batch."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [0.5] * 16}
    with mesh.http(mesh.demo_token) as client:
        answer = client.post("/v2/models/linear/infer", json={"inputs": [tensor]}).raise_for_status()
    found = trace(
        mesh, answer.headers["headrace-trace-id"], lambda seen: bool(seen.of("gateway") and seen.linked)
    )
    (server,) = [span for span in found.of("inference") if span.kind == SPAN_KIND_SERVER]
    parent = found.parent_of(server)
    assert parent is not None
    assert parent.service == "gateway"
    assert links_to(found.linked[0], server)


def test_failed_request_has_a_trace(mesh: Mesh) -> None:
    """A request that is refused leaves a gateway and an inference span with the code."""
    trace_id = "1af7651916cd43dd8448eb211c80319d"
    metadata = (*bearer(mesh.demo_token), ("traceparent", f"00-{trace_id}-b7ad6b7169203331-01"))
    with mesh.inference() as stub:
        call = stub.ModelInfer.future(
            ModelInferRequest(model_name="none"), timeout=CALL_TIMEOUT_S, metadata=metadata
        )
        assert call.exception() is not None
    found = trace(mesh, trace_id, lambda seen: bool(seen.of("gateway") and seen.of("inference")))
    (server,) = found.of("inference", MODEL_INFER)
    assert server.attributes["rpc.response.status_code"] == "NOT_FOUND"
    # OpenTelemetry: NOT_FOUND is the client's fault, so the server's span is no error.
    assert server.status != SPAN_STATUS_ERROR
