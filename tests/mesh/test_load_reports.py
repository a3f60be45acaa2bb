"""ORCA's trailer crosses the gateway, for whoever asked for it."""

import base64

import pytest

from headrace.inference.xds.v3.orca_load_report_pb2 import OrcaLoadReport
from tests.mesh.test_identity import infer_request
from tests.support.http2 import send
from tests.support.mesh import Mesh
from tests.support.node import Node
from tests.support.waiting import eventually

pytestmark = pytest.mark.mesh

TRAILER = "endpoint-load-metrics-bin"


def test_the_binary_trailer_is_a_load_report(hot_mesh: Mesh, node: Node) -> None:
    """gRPC's own clients keep it to themselves; on the wire it is there, on both hot paths, and only when asked for."""
    asked = infer_request(hot_mesh, hot_mesh.demo_token, {"endpoint-load-metrics-format": "bin"})
    plain = infer_request(hot_mesh, hot_mesh.demo_token)

    def told() -> str | None:
        """The trailer; a replica that began half a second ago has no load to tell yet."""
        with_report, without = send(node, hot_mesh.gateway, [asked, plain])
        assert (with_report.grpc_status, without.grpc_status) == (0, 0)
        assert TRAILER not in {**without.headers, **without.trailers}
        return with_report.trailers.get(TRAILER)

    text = eventually(told, "a load report")
    report = OrcaLoadReport.FromString(base64.b64decode(text + "=" * (-len(text) % 4)))
    assert 0.0 < report.mem_utilization <= 1.0
    assert set(report.named_metrics) == {"queue", "response_s"}


def test_the_report_is_a_header_in_rest(mesh: Mesh) -> None:
    """As Triton writes it."""
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [0.0] * 16}]}
    headers = {"endpoint-load-metrics-format": "text"}
    with mesh.http(mesh.demo_token) as client:

        def told() -> str | None:
            answer = client.post("/v2/models/linear/infer", json=body, headers=headers)
            assert answer.status_code == 200
            return answer.headers.get("endpoint-load-metrics")

        assert eventually(told, "a load report").startswith("TEXT cpu_utilization=")
