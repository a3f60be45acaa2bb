"""Row 24: default deny. Every method of every contract, and every way to spell a path."""

from collections.abc import Iterable

import grpc
import pytest
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health_pb2

from headrace.inference.v1 import rest_service_pb2
from headrace.inference.v2 import grpc_service_pb2
from headrace.inference.xds.v3 import orca_service_pb2
from headrace.insight.v1 import insight_service_pb2
from headrace.local.v1 import supervisor_service_pb2
from headrace.scaling.envoy.service.endpoint.v3 import eds_pb2
from headrace.scaling.v1 import scaling_service_pb2
from tests.support.http2 import GRPC, Answer, Request, grpc_frame, send
from tests.support.mesh import Mesh, bearer, raw
from tests.support.node import Node

OPEN_AT_THE_GATEWAY = {"/grpc.health.v1.Health/Check"}
OPEN_ON_TCP = "/grpc.health.v1.Health/"
SERVED = {
    "inference": (grpc_service_pb2, rest_service_pb2, orca_service_pb2),
    "insight": (insight_service_pb2,),
    "scaling": (eds_pb2, scaling_service_pb2),
}
CONTRACTS = (
    grpc_service_pb2,
    rest_service_pb2,
    insight_service_pb2,
    orca_service_pb2,
    eds_pb2,
    scaling_service_pb2,
    supervisor_service_pb2,
    health_pb2,
)
REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
REFUSED_WITHIN_S = 4.0
"""A refusal comes at once; a stream that is let in says nothing for as long as it is waited for."""

ABSENT = {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND}

INFER = "/inference.GRPCInferenceService/ModelInfer"
OTHER_SPELLINGS = [
    "/inference.GRPCInferenceService//ModelInfer",
    "//inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/ModelInfer/",
    "/inference.GRPCInferenceService/./ModelInfer",
    "/x/../inference.GRPCInferenceService/ModelInfer",
    "/grpc.health.v1.Health/../inference.GRPCInferenceService/ModelInfer",
    "/grpc.health.v1.Health/Check/../../inference.GRPCInferenceService/ModelInfer",
    "/grpc.health.v1.Health/Check/%2e%2e/%2e%2e/inference.GRPCInferenceService/ModelInfer",
    "/grpc.health.v1.Health%2fCheck",
    "/grpc.health.v1.Health/Check%2f..%2f..%2finference.GRPCInferenceService%2fModelInfer",
    "/grpc.health.v1.Health/Check;/../inference.GRPCInferenceService/ModelInfer",
    "/grpc.health.v1.Health/Check\\..\\..\\inference.GRPCInferenceService\\ModelInfer",
    "/inference.GRPCInferenceService/%4dodelInfer",
    "/%69nference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/ModelInfer?path=/grpc.health.v1.Health/Check",
    "/inference.GRPCInferenceService/ModelInfer?access_token=x",
    "/inference.GRPCInferenceService/modelinfer",
    "/INFERENCE.GRPCINFERENCESERVICE/MODELINFER",
    "/v2/models/linear/infer",
    "/v2/models/linear/infer/",
    "/v2//models/linear/infer",
    "/v2/health/../models/linear/infer",
    "/headrace.insight.v1.InsightService/ListTraces",
    "/headrace.local.v1.SupervisorService/Stop",
    "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints",
    "/headrace.scaling.v1.ScalingService/SetReplicas",
    "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics",
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/grpc.health.v1.Health/Watch",
    "/grpc.health.v1.Health/List",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/.well-known/jwks.json",
    "/metrics",
    "/healthz",
    "/",
    "*",
]


def paths(files: Iterable[FileDescriptor]) -> list[str]:
    """Every method of the contracts, as gRPC's paths."""
    return [
        f"/{service.full_name}/{method.name}"
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    ]


def codes(mesh: Mesh, target: str, methods: list[str], token: str | None) -> dict[str, grpc.StatusCode]:
    """What an empty message to each method is answered, whatever the method's kind."""
    with mesh.channel(target) as channel:
        calls = {
            path: raw(channel, path).future(b"", timeout=REFUSED_WITHIN_S, metadata=bearer(token))
            for path in methods
        }
        return {path: call.code() for path, call in calls.items()}


def test_gateway_refuses_every_method_without_a_token(hot_mesh: Mesh) -> None:
    """Without a token, and with one that nobody signed, every method but Health/Check is UNAUTHENTICATED."""
    methods = [
        path for path in paths(file.DESCRIPTOR for file in CONTRACTS) if path not in OPEN_AT_THE_GATEWAY
    ]
    assert len(methods) > 30
    for token in (None, "", "nonsense", hot_mesh.demo_token[:-6] + "AAAAAA"):
        answers = codes(hot_mesh, "", methods, token)
        assert answers == dict.fromkeys(methods, grpc.StatusCode.UNAUTHENTICATED), token


def test_gateway_refuses_inference_to_a_token_without_its_scope(hot_mesh: Mesh) -> None:
    """A token that may only observe gets PERMISSION_DENIED from ModelInfer, by gRPC and by REST."""
    token = hot_mesh.token("acme", "observe")
    answer = codes(hot_mesh, "", [INFER], token)
    assert answer == {INFER: grpc.StatusCode.PERMISSION_DENIED}
    with hot_mesh.http(token) as client:
        refused = client.post("/v2/models/linear/infer", json={"inputs": []})
    assert refused.status_code == 403
    assert "scope" in refused.json()["error"]


def test_gateway_has_no_way_to_other_services(mesh: Mesh) -> None:
    """Even the operator's token reaches only inference through the gateway."""
    methods = paths([insight_service_pb2.DESCRIPTOR, supervisor_service_pb2.DESCRIPTOR])
    answers = codes(mesh, "", methods, mesh.operator_token)
    assert set(answers.values()) <= ABSENT, answers


@pytest.mark.parametrize("service", sorted(SERVED))
def test_services_refuse_every_method_on_tcp_without_a_token(mesh: Mesh, service: str) -> None:
    """On a service's own port each method is refused without a token, and with identity headers instead of one."""
    methods = paths(file.DESCRIPTOR for file in SERVED[service])
    for token in (None, "nonsense"):
        answers = codes(mesh, mesh.services[service][0], methods, token)
        assert_denied(answers)


@pytest.mark.parametrize("service", sorted(SERVED))
def test_services_refuse_every_method_on_tcp_to_a_token_without_its_scope(mesh: Mesh, service: str) -> None:
    """For each method, a token with all scopes but the right one is refused: no method has two ways in."""
    methods = paths(file.DESCRIPTOR for file in SERVED[service])
    by_scope = {
        scope: codes(mesh, mesh.services[service][0], methods, mesh.token("acme", scope))
        for scope in ("infer", "observe", "operate")
    }
    for path in methods:
        refusals = [answers[path] for answers in by_scope.values() if answers[path] in REFUSED | ABSENT]
        assert len(refusals) >= 2, (path, {scope: answers[path] for scope, answers in by_scope.items()})


def assert_denied(answers: dict[str, grpc.StatusCode]) -> None:
    """Refused, or not served at all; and most of them are served."""
    unexpected = {
        path: code for path, code in answers.items() if code not in REFUSED | {grpc.StatusCode.UNIMPLEMENTED}
    }
    assert not unexpected
    assert grpc.StatusCode.UNAUTHENTICATED in answers.values()


def test_no_spelling_of_a_path_gets_past_the_token(hot_mesh: Mesh, node: Node) -> None:
    """33 other spellings of paths, each over HTTP/2 with gRPC's and with JSON's content type: none is answered."""
    requests = [
        Request(path, {"content-type": kind, ":authority": hot_mesh.gateway}, grpc_frame(b""))
        for path in OTHER_SPELLINGS
        for kind in (GRPC, "application/json")
    ]
    answers = send(node, hot_mesh.gateway, requests)
    passed = [request.path for request, answer in zip(requests, answers, strict=True) if not refused(answer)]
    assert not passed


def refused(answer: Answer) -> bool:
    """No success in HTTP and none in gRPC; a reset stream or connection is a refusal too."""
    if not answer.headers:
        return True
    if answer.grpc_status is not None:
        return answer.grpc_status != 0
    return answer.status >= 300


def test_supervisor_and_local_sockets_are_for_their_owner_only(mesh: Mesh) -> None:
    """What is believed without a token stands in a directory, and on sockets, that nobody else can enter."""
    run = mesh.state_dir / "run"
    assert mesh.state_dir.stat().st_mode & 0o777 == 0o700
    assert run.stat().st_mode & 0o777 == 0o700
    sockets = list(run.glob("*.sock"))
    assert len(sockets) >= 5
    assert {path.name: oct(path.stat().st_mode & 0o077) for path in sockets} == {
        path.name: "0o0" for path in sockets
    }
