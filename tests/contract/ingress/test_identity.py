"""Nobody is somebody else: identity forged in headers and trailers, through Envoy (row 23)."""

import pytest

from headrace.inference.v2.grpc_service_pb2 import ModelInferResponse
from tests.contract.ingress.calls import ask
from tests.contract.ingress.conftest import Open
from tests.contract.ingress.echo import INFER_PATH
from tests.contract.ingress.edge import TENANT
from tests.support.http2 import Answer, Request, grpc_frame, send
from tests.support.node import node

BODY = grpc_frame(ask("a").SerializeToString())
FORGED = {"x-tenant-id": "evil", "x-headrace-scopes": "operate", "x-headrace-token-id": "evil"}


def tenant(answer: Answer) -> str:
    """Whom the handler took for its caller."""
    assert answer.grpc_status == 0, answer
    return ModelInferResponse.FromString(answer.body[5:]).parameters["tenant"].string_param


@pytest.mark.parametrize("hot_path", ["h1", "h2"])
@pytest.mark.parametrize("strip_trailers", [True, False], ids=["edge strips", "edge lets pass"])
def test_identity_in_trailers_is_nobodys(open_edge: Open, hot_path: str, strip_trailers: bool) -> None:
    """With a content-length and without, stripped by the edge or not: 0 forged.

    Several requests follow each other, so that a trailer that stuck to the
    connection would meet the next one on it.
    """
    edge = open_edge(hot_path, strip_trailers=strip_trailers)
    length = {"content-length": str(len(BODY))}
    plain, anonymous = {TENANT: "honest"}, dict[str, str]()
    requests = [
        Request(INFER_PATH, {**headers, **sized}, BODY, trailers)
        for headers in (plain, anonymous)
        for sized in (length, {})
        for trailers in (FORGED, None)
    ]
    answers = send(node(), edge.target, requests)
    assert [tenant(answer) for answer in answers[:4]] == ["honest"] * 4
    # Nobody: refused, and never anybody's. Envoy resets what it finds malformed itself.
    assert all(answer.grpc_status == 16 for answer in answers[4:]), answers[4:]


@pytest.mark.parametrize("hot_path", ["h1", "h2"])
def test_identity_in_headers_is_stripped(open_edge: Open, hot_path: str) -> None:
    """What a client sends of ours goes no further than the edge, in whatever case or number."""
    headers: dict[str, str | list[str]] = {TENANT: "honest", **FORGED}
    requests = [
        Request(INFER_PATH, headers, BODY),
        Request(INFER_PATH, {**headers, "x-tenant-id": ["a", "b"]}, BODY),
    ]
    answers = send(node(), open_edge(hot_path).target, requests)
    assert [tenant(answer) for answer in answers] == ["honest"] * 2


@pytest.mark.parametrize("hot_path", ["h1", "h2"])
def test_two_tenants_are_none(open_edge: Open, hot_path: str) -> None:
    """A tenant header that comes twice behind the edge is refused."""
    requests = [Request(INFER_PATH, {TENANT: ["honest", "evil"]}, BODY)]
    answers = send(node(), open_edge(hot_path).target, requests)
    assert "evil" not in tenant_or_refusal(answers[0])


def tenant_or_refusal(answer: Answer) -> str:
    """The handler's caller; empty when the call was refused."""
    return tenant(answer) if answer.grpc_status == 0 else ""
