"""Row 22 in full: limit - 1 and limit are taken, limit + 1 is not, wherever a client can meet a limit.

test_size_limits.py has the ways that most take.
"""

from collections.abc import Callable

import grpc
import pytest

from headrace.inference.v1.explain_service_pb2 import ExplainModelRequest
from headrace.inference.v1.explain_service_pb2_grpc import ExplainServiceStub
from headrace.inference.v1.flight_service_pb2 import ListFlightsRequest
from headrace.inference.v1.flight_service_pb2_grpc import FlightRecorderServiceStub
from tests.conftest import MeshOf
from tests.mesh.test_browsers import call as web_call
from tests.mesh.test_size_limits import request_of_size
from tests.support.mesh import CALL_TIMEOUT_S, H2, SMALL_LIMIT, TWO_REPLICAS, Mesh, bearer
from tests.support.requests import distinct_rows, linear

pytestmark = pytest.mark.slow

LIMIT = SMALL_LIMIT
ROUND = [(-1, True), (0, True), (1, False)]
OK, TOO_LARGE, INVALID = (
    grpc.StatusCode.OK,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INVALID_ARGUMENT,
)


@pytest.fixture(scope="module", params=["h1", "h2"])
def small_mesh(request: pytest.FixtureRequest, mesh_of: MeshOf) -> Mesh:
    """Meshes that take messages of at most `LIMIT` bytes."""
    return mesh_of(TWO_REPLICAS if request.param == "h1" else H2)


@pytest.mark.parametrize(("more", "taken"), ROUND)
@pytest.mark.parametrize("kind", ["application/grpc-web+proto", "application/grpc-web-text+proto"])
def test_grpc_web_message(small_mesh: Mesh, kind: str, more: int, taken: bool) -> None:
    """Of the text form the message counts, not its base64."""
    trailers = web_call(small_mesh, request_of_size(LIMIT + more), small_mesh.demo_token, kind)[-1][1]
    status = 0 if taken else TOO_LARGE.value[0]
    assert f"grpc-status:{status}".encode() in trailers.replace(b" ", b""), trailers


@pytest.mark.parametrize(("more", "taken"), ROUND)
def test_message_of_a_stream(small_mesh: Mesh, more: int, taken: bool) -> None:
    """Each message of a stream is held to the limit; one that is too large ends its stream."""
    requests = [linear(distinct_rows(1), "first"), request_of_size(LIMIT + more)]
    with small_mesh.inference() as stub:
        stream = stub.ModelStreamInfer(
            iter(requests), metadata=bearer(small_mesh.demo_token), timeout=CALL_TIMEOUT_S
        )
        if taken:
            assert [answer.error_message for answer in stream] == ["", ""]
        else:
            with pytest.raises(grpc.RpcError):
                list(stream)
            assert stream.code() is TOO_LARGE


@pytest.mark.parametrize(("more", "taken"), ROUND)
def test_message_to_the_replica_itself(small_mesh: Mesh, more: int, taken: bool) -> None:
    """Past the gateway the limit is the same."""
    with small_mesh.inference(small_mesh.services["inference"][0]) as stub:
        call = stub.ModelInfer.future(
            request_of_size(LIMIT + more), timeout=CALL_TIMEOUT_S, metadata=bearer(small_mesh.demo_token)
        )
        assert call.code() is (OK if taken else TOO_LARGE)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/embeddings",
        "/v1/models/none:predict",
        "/v2/models/none/generate",
        "/v2/models/none/infer",
        "/v2/repository/models/none/load",
    ],
)
def test_rest_body_at_every_address(small_mesh: Mesh, path: str) -> None:
    """Up to one size every body is read, above it none is: 413, at most 64 KiB below the message limit."""

    def taken(size: int) -> bool:
        body = b'{"model":"none","input":"' + b"x" * (size - 27) + b'"}'
        assert len(body) == size
        with small_mesh.http(small_mesh.operator_token) as client:
            answer = client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 404, 409, 412, 413), answer.text[:300]
        return answer.status_code != 413

    most, least = LIMIT - 64 * 1024, LIMIT + 1
    assert taken(most)
    assert not taken(least)
    while least - most > 1:
        middle = (most + least) // 2
        most, least = (middle, least) if taken(middle) else (most, middle)
    assert [taken(most + more) for more, _ in ROUND] == [True, True, False]


@pytest.mark.parametrize(("more", "taken"), ROUND)
def test_rows_and_idempotency_key(small_mesh: Mesh, more: int, taken: bool) -> None:
    """A request has at most `max_batch_size` rows (32), a key at most 255 bytes."""
    metadata = bearer(small_mesh.demo_token)
    key = ("idempotency-key", "k" * (255 + more))
    with small_mesh.inference() as stub:
        calls = [
            stub.ModelInfer.future(linear(distinct_rows(32 + more)), timeout=30, metadata=metadata),
            stub.ModelInfer.future(linear(distinct_rows(1)), timeout=30, metadata=(*metadata, key)),
        ]
        assert [call.code() for call in calls] == [OK if taken else INVALID] * 2


def _explain(channel: grpc.Channel, more: int, metadata: tuple[tuple[str, str], ...]) -> None:
    request = ExplainModelRequest(model="linear", batches=64 + more)
    ExplainServiceStub(channel).ExplainModel(request, timeout=30, metadata=metadata)


def _flights(channel: grpc.Channel, more: int, metadata: tuple[tuple[str, str], ...]) -> None:
    request = ListFlightsRequest(limit=1000 + more)
    FlightRecorderServiceStub(channel).ListFlights(request, timeout=30, metadata=metadata)


@pytest.mark.parametrize(("more", "taken"), ROUND)
@pytest.mark.parametrize("ask", [_explain, _flights])
def test_what_is_asked_of_a_replica(
    small_mesh: Mesh, ask: Callable[..., None], more: int, taken: bool
) -> None:
    """64 batches and 1,000 flights may be asked for at once."""
    metadata = bearer(small_mesh.operator_token)
    with small_mesh.channel(small_mesh.services["inference"][0]) as channel:
        if taken:
            ask(channel, more, metadata)
        else:
            with pytest.raises(grpc.RpcError) as error:
                ask(channel, more, metadata)
            assert error.value.code() is INVALID
