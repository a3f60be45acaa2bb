"""ModelStreamInfer and lists of embeddings through the gateway: each request is admitted, billed and traced by itself."""

from typing import Any
from uuid import uuid4

import numpy as np

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.metering.usage import UsageKind
from tests.support.ledger import settled
from tests.support.mesh import Mesh, bearer
from tests.support.metered import priced_now, tenant
from tests.support.requests import Linear, distinct_rows, request_of

REQUESTS = 12


def asked(row: Any, request_id: str = "") -> ModelInferRequest:
    return request_of("linear", {"x": ("FP32", row)}, request_id)


def test_a_stream_is_answered_and_billed_by_the_request(mesh: Mesh, linear: Linear) -> None:
    """Every answer is its request's; the ledger has each once, under keys of their own."""
    priced_now(mesh, asked(distinct_rows(1)), mesh.demo_token)
    caller = tenant(mesh, f"streaming-{uuid4().hex[:12]}")
    rows = distinct_rows(REQUESTS, seed=5)
    requests = [asked(rows[number : number + 1], str(number)) for number in range(REQUESTS)]
    with mesh.inference() as stub:
        found: dict[str, Any] = {}
        for answer in stub.ModelStreamInfer(iter(requests), metadata=bearer(caller.token), timeout=60):
            assert answer.error_message == ""
            response = answer.infer_response
            found[response.id] = np.frombuffer(response.raw_output_contents[0], np.float32)
    assert len(found) == REQUESTS
    for number in range(REQUESTS):
        np.testing.assert_allclose(found[str(number)], linear(rows)[number], rtol=1e-5, atol=1e-6)
    events = settled(mesh).events(caller.name)
    assert len(events) == REQUESTS
    assert len({event.key for event in events}) == REQUESTS
    assert all(event.charged and event.kind is UsageKind.EXECUTED for event in events)


def test_a_list_of_texts_is_billed_by_the_batch(mesh: Mesh) -> None:
    """Seventy texts are three requests of the model: as many charges, none of them lost in another."""
    caller = tenant(mesh, f"embedding-{uuid4().hex[:12]}")
    texts = [f"text {number} of {caller.name}" for number in range(70)]
    with mesh.http(caller.token) as client:
        answer = client.post("/v1/embeddings", json={"model": "minilm", "input": texts})
    assert answer.status_code == 200, answer.text
    events = settled(mesh).events(caller.name)
    assert int(answer.headers["headrace-cost-nanos"]) == sum(event.paid for event in events)
    assert [(event.model, event.charged) for event in events] == [("minilm", True)] * 3
    assert len({event.key for event in events}) == 3
