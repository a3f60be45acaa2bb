"""Row 23: nobody but the gateway says who calls.

Scopes tell what a replica believed: a caller with a token that may only observe
claims, in every way there is, to be one that may infer.
"""

from collections.abc import Mapping
from types import MappingProxyType

import grpc
import pytest

from tests.support.http2 import Request, grpc_frame, send
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, raw
from tests.support.node import Node
from tests.support.requests import distinct_rows, linear

NONE: Mapping[str, str | list[str]] = MappingProxyType({})
INFER = "/inference.GRPCInferenceService/ModelInfer"
PERMISSION_DENIED = grpc.StatusCode.PERMISSION_DENIED.value[0]
OK = grpc.StatusCode.OK.value[0]

FORGERIES: dict[str, dict[str, str | list[str]]] = {
    "plain": {"x-headrace-scopes": "infer", "x-tenant-id": "victim"},
    "twice": {"x-headrace-scopes": ["infer", "infer observe"], "x-tenant-id": ["victim", "victim"]},
    "comma": {"x-headrace-scopes": "infer,infer", "x-tenant-id": "victim, mallory"},
    "underscore": {"x_headrace_scopes": "infer", "x_tenant_id": "victim"},
    "mixed": {"x-headrace_scopes": "infer", "x-tenant_id": "victim"},
    "binary": {"x-headrace-scopes-bin": "aW5mZXI=", "x-tenant-id-bin": "dmljdGlt"},
    "suffix": {"x-headrace-scopes ": "infer", "x-tenant-id\t": "victim"},
    "connection": {"connection": "x-headrace-scopes, x-tenant-id"},
    "forwarded": {"forwarded": "for=victim", "x-forwarded-client-cert": "URI=spiffe://headrace/svc/gateway"},
    "envoy": {
        "x-envoy-original-path": "/grpc.health.v1.Health/Check",
        "x-envoy-decorator-operation": "infer",
    },
    "empty": {"x-headrace-scopes": "", "x-tenant-id": ""},
}


def infer_request(
    mesh: Mesh,
    token: str,
    headers: Mapping[str, str | list[str]] = NONE,
    trailers: Mapping[str, str] | None = None,
) -> Request:
    own = {":authority": mesh.gateway, "authorization": f"Bearer {token}"}
    body = grpc_frame(linear(distinct_rows(1)).SerializeToString())
    return Request(INFER, {**own, **headers}, body, trailers)


@pytest.mark.parametrize("how", sorted(FORGERIES))
def test_forged_headers_give_nothing(hot_mesh: Mesh, node: Node, how: str) -> None:
    """Identity headers of a client, however they are written, do not widen its token."""
    token = hot_mesh.token("acme", "observe")
    (answer,) = send(node, hot_mesh.gateway, [infer_request(hot_mesh, token, headers=FORGERIES[how])])
    assert answer.grpc_status in (PERMISSION_DENIED, None)
    assert answer.grpc_status == PERMISSION_DENIED or answer.error or answer.status == 400, answer


def test_forged_trailers_give_nothing(hot_mesh: Mesh, node: Node) -> None:
    """Identity in request trailers, which pass every filter of headers, does not widen a token."""
    token = hot_mesh.token("acme", "observe")
    trailers = {"x-headrace-scopes": "infer", "x-tenant-id": "victim"}
    (answer,) = send(node, hot_mesh.gateway, [infer_request(hot_mesh, token, trailers=trailers)])
    assert answer.grpc_status == PERMISSION_DENIED, answer


def test_trailers_do_no_harm_to_an_honest_caller(hot_mesh: Mesh, node: Node) -> None:
    """A caller who may infer is answered though the request ends in trailers, and so is the next one."""
    requests = [
        infer_request(hot_mesh, hot_mesh.demo_token, trailers={"x-tenant-id": "victim", "x-anything": "1"}),
        infer_request(hot_mesh, hot_mesh.demo_token),
    ]
    assert [answer.grpc_status for answer in send(node, hot_mesh.gateway, requests)] == [OK, OK]


def test_forged_headers_of_an_honest_caller_are_dropped(hot_mesh: Mesh, node: Node) -> None:
    """Identity headers beside a good token are removed, not added to: the call goes on as its token's tenant."""
    requests = [
        infer_request(hot_mesh, hot_mesh.demo_token, headers=FORGERIES[how]) for how in ("plain", "twice")
    ]
    assert [answer.grpc_status for answer in send(node, hot_mesh.gateway, requests)] == [OK, OK]


@pytest.mark.parametrize("service", ["inference", "insight"])
def test_services_believe_no_header_on_tcp(mesh: Mesh, service: str) -> None:
    """A service's own port takes identity from a token only, whatever the headers say."""
    path = {"inference": INFER, "insight": "/headrace.insight.v1.InsightService/ListTraces"}[service]
    forged = (("x-tenant-id", "operator"), ("x-headrace-scopes", "infer observe operate"))
    with mesh.channel(mesh.services[service][0]) as channel:
        call = raw(channel, path).future(b"", timeout=CALL_TIMEOUT_S, metadata=forged)
        assert call.code() is grpc.StatusCode.UNAUTHENTICATED


def test_two_tokens_are_refused(hot_mesh: Mesh, node: Node) -> None:
    """A request with two authorization headers is refused, whichever of them is good."""
    bad, good = hot_mesh.token("acme", "observe"), hot_mesh.demo_token
    requests = [
        infer_request(hot_mesh, "", headers={"authorization": [f"Bearer {one}", f"Bearer {other}"]})
        for one, other in ((bad, good), (good, bad))
    ]
    assert all(answer.grpc_status != OK for answer in send(node, hot_mesh.gateway, requests))
