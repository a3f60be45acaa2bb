"""REST through the gateway: the bridge, and `{"error": …}` with the right status."""

import base64
import json

import httpx
import pytest
from google.api.httpbody_pb2 import HttpBody

from headrace.runtime.errors import RUNTIME_CODES, HeadraceError, rejection
from tests.contract.gateway.edge import INFER, Edge
from tests.contract.gateway.replica import REST, Reply, Seen

AWKWARD = 'no model "a\\b"\n\t{"message":"x"} \u2603 \U0001f600 "retryDelay":"9s"'


def error_of(answer: httpx.Response) -> str:
    """The text of an error in the Open Inference Protocol's form."""
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert list(document) == ["error"]
    assert isinstance(document["error"], str)
    return document["error"]


def refusing(reason: str, message: str, *, retry_after_s: float | None = None) -> Reply:
    """What the ingress answers for this error."""
    refused = rejection(
        HeadraceError(reason, message, {"message": message}, retry_after_s=retry_after_s), RUNTIME_CODES
    )
    details = base64.b64encode(refused.details).decode()
    return Reply(
        None, refused.code, "short", {"grpc-status-details-bin": details, "x-envoy-ratelimited": "true"}
    )


@pytest.mark.parametrize(
    ("method", "path", "rpc"),
    [
        ("GET", "/v2", "ServerMetadata"),
        ("GET", "/v2/", "ServerMetadata"),
        ("GET", "/v2/health/live", "ServerLive"),
        ("GET", "/v2/health/ready", "ServerReady"),
        ("GET", "/v2/models/m", "ModelMetadata"),
        ("GET", "/v2/models/m/versions/1", "ModelMetadata"),
        ("GET", "/v2/models/m/ready", "ModelReady"),
        ("POST", "/v2/models/m/infer", "ModelInfer"),
        ("POST", "/v2/models/m/versions/1/infer", "ModelInfer"),
        ("POST", "/v2/models/m/generate", "Generate"),
        ("POST", "/v2/models/m/versions/1/generate", "Generate"),
        ("POST", "/v2/models/m/generate_stream", "GenerateStream"),
        ("POST", "/v2/models/m/versions/1/generate_stream", "GenerateStream"),
        ("POST", "/v1/models/m:predict", "Predict"),
        ("POST", "/v1/models/m/versions/1:predict", "Predict"),
    ],
)
def test_each_rest_path_reaches_its_rpc(edge: Edge, method: str, path: str, rpc: str) -> None:
    """The Open Inference Protocol's paths are RPCs of RestService, with and without a slash at the end."""
    with edge.http() as http:
        answer = http.request(method, path, headers=edge.bearer())
    assert (answer.status_code, answer.json()) == (200, {"live": True})
    assert [seen.path for seen in edge.replica.seen] == [REST + rpc]


def test_a_body_passes_raw_with_its_headers(edge: Edge) -> None:
    """Binary tensors: the body's bytes, its type and the length of its JSON part arrive as sent."""
    body = bytes(range(256)) * 16
    headers = {
        **edge.bearer(),
        "content-type": "application/octet-stream",
        "inference-header-content-length": "7",
    }
    with edge.http() as http:
        http.post("/v2/models/m/infer", headers=headers, content=body)
    (seen,) = edge.replica.seen
    assert body in seen.message
    assert b"application/octet-stream" in seen.message
    assert seen.values("inference-header-content-length") == ["7"]


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("MESSAGE_INVALID", 400),
        ("FIELD_INVALID", 400),
        ("UNAUTHENTICATED", 401),
        ("SCOPE_MISSING", 403),
        ("MESSAGE_TOO_LARGE", 429),
        ("METHOD_UNKNOWN", 501),
        ("OVERLOADED", 503),
        ("DEADLINE_EXCEEDED", 504),
        ("INTERNAL", 500),
    ],
)
def test_an_error_of_the_replica_keeps_its_words(edge: Edge, reason: str, status: int) -> None:
    """The message arrives character by character, whatever it holds, with the code's HTTP status."""
    edge.replica.reply = lambda _seen: refusing(reason, AWKWARD)
    with edge.http() as http:
        answer = http.get("/v2/models/m", headers=edge.bearer())
    assert (answer.status_code, error_of(answer)) == (status, AWKWARD)
    assert "retry-after" not in answer.headers
    assert "x-envoy-ratelimited" not in answer.headers


@pytest.mark.parametrize(("delay_s", "header"), [(0.02, "1"), (1.0, "1"), (1.2, "2"), (7.0, "7")])
def test_a_retry_delay_becomes_retry_after(edge: Edge, delay_s: float, header: str) -> None:
    """RetryInfo is Retry-After in whole seconds, rounded up, at least one."""
    edge.replica.reply = lambda _seen: refusing("OVERLOADED", "full", retry_after_s=delay_s)
    with edge.http() as http:
        answer = http.get("/v2/models/m", headers=edge.bearer())
    assert (answer.status_code, answer.headers["retry-after"], error_of(answer)) == (503, header, "full")


def test_an_error_without_details_has_the_form_too(edge: Edge) -> None:
    """grpc-status and grpc-message alone are enough; an empty message stays empty."""
    with edge.http() as http:
        edge.replica.reply = lambda _seen: Reply(None, 5, "no %22model%22 %E2%98%83")
        assert error_of(http.get("/v2/models/m", headers=edge.bearer())) == 'no "model" \u2603'
        edge.replica.reply = lambda _seen: Reply(None, 5, "")
        assert error_of(http.get("/v2/models/m", headers=edge.bearer())) == ""


def test_a_good_answer_is_left_alone(edge: Edge) -> None:
    """Only errors are rewritten: an answer that looks like one passes."""
    body = HttpBody(content_type="application/json", data=b'{"code":5,"message":"x"}').SerializeToString()
    edge.replica.reply = lambda _seen: Reply(body)
    with edge.http() as http:
        assert http.get("/v2", headers=edge.bearer()).json() == {"code": 5, "message": "x"}


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v2/nope", 404, "/v2/nope"),
        ("GET", "/nope", 404, "/nope"),
        ("DELETE", "/v2", 404, "/v2"),
        ("GET", "/v2/models/m?colour=red", 400, "colour"),
        ("GET", "/v2/models/a%2Fb", 400, "slash"),
        ("GET", "/v2/models/a%5cb", 400, "slash"),
        ("GET", "/v2/models/../../nope", 404, "/nope"),
        ("GET", "/v1/models/m:predict", 404, "predict"),
        ("POST", "/v1/models/m:predict?colour=red", 400, "colour"),
    ],
)
def test_the_gateways_own_refusals_have_the_form(
    edge: Edge, method: str, path: str, status: int, text: str
) -> None:
    """What Envoy refuses itself reads as an error of the protocol too."""
    with edge.http() as http:
        answer = http.request(method, path, headers=edge.bearer())
    assert answer.status_code == status
    assert text in error_of(answer)
    assert edge.replica.seen == []


def test_kserves_first_protocol_has_errors_of_its_own_form(edge: Edge) -> None:
    """Under /v1, where other errors are OpenAI's objects: a text, whether the gateway or a replica refuses."""
    path, large = "/v1/models/m:predict", b"x" * (edge.settings.max_rest_body_bytes + 1)
    with edge.http() as http:
        assert error_of(http.post(path, content=b"{}"))  # no token
        assert error_of(http.post(path, headers=edge.bearer(), content=large))
        edge.replica.reply = lambda _seen: refusing("FIELD_INVALID", AWKWARD)
        answer = http.post(path, headers=edge.bearer(), content=b"{}")
        assert (answer.status_code, error_of(answer)) == (400, AWKWARD)
        assert "type" in http.get("/v1/models/m", headers=edge.bearer()).json()["error"]


def test_json_is_no_way_to_a_grpc_method(edge: Edge) -> None:
    """A gRPC path without gRPC's content type reaches nobody."""
    with edge.http() as http:
        for path in (INFER, REST + "ServerLive", "/inference.GRPCInferenceService/RepositoryModelLoad"):
            answer = http.post(
                path, headers={**edge.bearer(), "content-type": "application/json"}, content=b"{}"
            )
            assert answer.status_code == 404
    assert edge.replica.seen == []
    assert edge.grpc_side.seen == []


@pytest.mark.parametrize(("extra", "status"), [(-1, 200), (0, 200), (1, 413)])
def test_the_body_limit_is_sharp(edge: Edge, extra: int, status: int) -> None:
    """Limit - 1 and limit pass whole, limit + 1 is refused with the protocol's error."""
    body = b"x" * (edge.settings.max_rest_body_bytes + extra)
    with edge.http() as http:
        answer = http.post("/v2/models/m/infer", headers=edge.bearer(), content=body)
    assert answer.status_code == status
    assert [body in seen.message for seen in edge.replica.seen] == ([True] if status == 200 else [])
    if status != 200:
        error_of(answer)


def test_an_answer_with_a_large_body_arrives(edge: Edge) -> None:
    """Answers of the message limit's size pass the transcoder's buffer."""
    data = json.dumps("x" * (edge.settings.max_message_bytes - 70_000)).encode()
    body = HttpBody(content_type="application/json", data=data).SerializeToString()
    edge.replica.reply = lambda _seen: Reply(body)
    with edge.http() as http:
        assert http.get("/v2", headers=edge.bearer()).content == data


def test_the_answers_headers_pass(edge: Edge) -> None:
    """What the bridge says in initial metadata are the REST answer's headers."""

    def reply(_seen: Seen) -> Reply:
        headers = {"headrace-replica": "inference-0", "inference-header-content-length": "12"}
        return Reply(b"\x0a\x01a\x12\x01b", headers=headers)

    edge.replica.reply = reply
    with edge.http() as http:
        answer = http.get("/v2", headers=edge.bearer())
    assert answer.headers["headrace-replica"] == "inference-0"
    assert answer.headers["inference-header-content-length"] == "12"
    assert answer.headers["content-type"] == "a"


def preflight(edge: Edge, origin: str, path: str) -> httpx.Response:
    """What a browser asks before it calls from another origin."""
    headers = {"origin": origin, "access-control-request-method": "POST"}
    with edge.http() as http:
        return http.options(path, headers=headers)


@pytest.mark.parametrize("path", ["/v2/models/m/infer", INFER])
def test_a_browser_of_an_allowed_origin_may_ask(edge: Edge, path: str) -> None:
    """The preflight, which carries no token, is answered for REST and for gRPC-Web."""
    allowed = preflight(edge, "https://app.example", path)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    may_send = allowed.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "idempotency-key", "cache-control"} <= set(may_send)
    refused = preflight(edge, "https://evil.example", path)
    assert refused.status_code == 401
    assert "access-control-allow-origin" not in refused.headers


def test_a_browser_may_read_what_a_request_cost(edge: Edge) -> None:
    """Cost, currency, cache level and the place in the batch are among the headers that a script of an allowed origin sees."""
    with edge.http() as http:
        answer = http.get("/v2", headers={**edge.bearer(), "origin": "https://app.example"})
    readable = answer.headers["access-control-expose-headers"].split(", ")
    told = {"headrace-cost-nanos", "headrace-currency", "headrace-cache", "headrace-batch-position"}
    assert told <= set(readable)


def test_grpc_web_reaches_the_same_method(edge: Edge) -> None:
    """A browser's gRPC-Web call is a ModelInfer like any other; its status is in the body."""
    headers = {**edge.bearer(), "content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    with edge.http() as http:
        answer = http.post(INFER, headers=headers, content=b"\0\0\0\0\x05hello")
    assert [seen.message for seen in edge.replica.seen] == [b"hello"]
    assert answer.content.startswith(b"\0\0\0\0\x05hello\x80")
    assert b"grpc-status:0" in answer.content
