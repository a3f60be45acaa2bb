"""Row 25: secrets never leak. Canaries go in by every door; afterwards nothing that the mesh keeps or shows has one."""

import base64
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.support.http2 import Request, grpc_frame, send
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, bearer
from tests.support.node import Node
from tests.support.requests import linear, request_of, text
from tests.support.traces import trace
from tests.support.waiting import eventually

HEADER = "canary-header-6d1f0c"
KEY = "canary-key-93ab77"
PAYLOAD = "canary-payload-51e2c8"
URL = "canary-url-08d4f1"
ORDER = "canary-order-7be2a4"
NUMBER = np.float32(1.2345678e33)
INFER = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Visit:
    """A mesh that has met the canaries, and all that its callers were answered."""

    mesh: Mesh
    token: str
    answers: str

    def canaries(self) -> list[bytes]:
        """What must be nowhere: in the clear, as base64, and a token's signature."""
        plain = [HEADER, KEY, PAYLOAD, URL, ORDER, self.token, self.token.rpartition(".")[2]]
        encoded = [base64.b64encode(one.encode()).decode().rstrip("=")[:-2] for one in (HEADER, KEY, PAYLOAD)]
        escaped = repr(NUMBER.tobytes())[2:-1]
        number = [NUMBER.tobytes(), escaped.encode(), b"1.2345678e+33"]
        return [one.encode() for one in plain + encoded] + number


@pytest.fixture(scope="module")
def visit(hot_mesh: Mesh, node: Node) -> Visit:
    token = hot_mesh.token("acme", "infer")
    answers = [*calls(hot_mesh, token), *http_calls(hot_mesh, token), *raw_calls(hot_mesh, node, token)]
    trace_id = "2af7651916cd43dd8448eb211c80319e"
    traceparent = f"00-{trace_id}-b7ad6b7169203331-01"
    # Executed, though the same text has been answered before: the batch is waited for.
    metadata = (*bearer(token), ("traceparent", traceparent), ("cache-control", "no-store"))
    with hot_mesh.inference() as stub:
        stub.ModelInfer(text("minilm", "text", [PAYLOAD.encode()]), timeout=CALL_TIMEOUT_S, metadata=metadata)
    # The last spans are stored: what is not there by now won't be.
    trace(hot_mesh, trace_id, lambda found: bool(found.of("gateway") and found.linked))
    access_log = hot_mesh.state_dir / "logs" / "access.log"
    if access_log.exists():  # Envoy writes it by the buffer, every ten seconds at the latest
        eventually(lambda: trace_id in access_log.read_text(), "the access log is written", 15.0)
    # So has metering, which is told once a second what the edge saw.
    figures = [hot_mesh.state_dir / "metering" / f"edge.sqlite3{part}" for part in ("", "-wal")]
    eventually(
        lambda: any(b"acme" in path.read_bytes() for path in figures), "the edge's figures are kept", 15.0
    )
    return Visit(hot_mesh, token, "\n".join(answers))


def calls(mesh: Mesh, token: str) -> list[str]:
    """gRPC: good and bad requests with canaries in key, metadata and tensors."""
    secret = np.full((1, 16), NUMBER)
    requests = [
        text("minilm", "text", [PAYLOAD.encode()]),
        text("minilm", "text", [PAYLOAD.encode() + b"\xff\xfe"]),
        request_of("linear", {"x": ("FP32", secret)}),
        request_of("linear", {"x": ("FP32", secret[:, :15])}),
        linear(secret, model="none"),
    ]
    cut = linear(secret)
    cut.raw_input_contents[0] = cut.raw_input_contents[0][:-4]
    requests.append(cut)
    metadata: tuple[tuple[str, str | bytes], ...] = (
        *bearer(token),
        ("x-canary", HEADER),
        ("x-canary-bin", HEADER.encode()),
        ("cookie", HEADER),
        ("idempotency-key", ORDER),
    )
    said = []
    with mesh.inference() as stub:
        for request in requests:
            call = stub.ModelInfer.future(request, timeout=CALL_TIMEOUT_S, metadata=metadata)
            said.append(f"{call.code()} {call.details()} {call.trailing_metadata()}")
        for bad in (KEY, f"{token[:-8]}{KEY}", f"{token} {KEY}"):
            call = stub.ModelInfer.future(requests[2], timeout=CALL_TIMEOUT_S, metadata=bearer(bad))
            assert call.code() is grpc.StatusCode.UNAUTHENTICATED
            said.append(f"{call.details()} {call.trailing_metadata()}")
    with mesh.inference(mesh.services["inference"][0]) as stub:
        call = stub.ModelInfer.future(requests[2], timeout=CALL_TIMEOUT_S, metadata=bearer(KEY))
        said.append(f"{call.code()} {call.details()} {call.trailing_metadata()}")
    return said


def http_calls(mesh: Mesh, token: str) -> list[str]:
    """REST: bodies that are no JSON, tensors of the wrong type, a key in the address."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [PAYLOAD] * 16}
    with mesh.http(token) as client:
        client.headers["x-canary"] = HEADER
        answers = [
            client.post("/v2/models/linear/infer", json={"inputs": [tensor]}),
            client.post("/v2/models/linear/infer", content=f'{{"{PAYLOAD}": '.encode()),
            client.post("/v2/models/linear/infer", params={"access_token": URL}, json={"inputs": [tensor]}),
            client.get("/v2/health/live", params={"key": URL}),
        ]
    return [f"{answer.headers} {answer.text}" for answer in answers]


def raw_calls(mesh: Mesh, node: Node, token: str) -> list[str]:
    """Frames that no parser takes, canaries in trailers."""
    headers = {":authority": mesh.gateway, "authorization": f"Bearer {token}"}
    requests = [
        Request(INFER, headers, grpc_frame(b"\xff" + PAYLOAD.encode())),
        Request(INFER, headers, PAYLOAD.encode()),
        Request(INFER, headers, grpc_frame(b""), {"x-canary": HEADER}),
    ]
    return [
        f"{answer.headers} {answer.trailers} {answer.body!r}" for answer in send(node, mesh.gateway, requests)
    ]


def found_in(content: bytes, canaries: list[bytes]) -> list[bytes]:
    return [canary for canary in canaries if canary in content]


def test_answers_repeat_no_secret(visit: Visit) -> None:
    """No error message, detail or header says a key, a header or a tensor back."""
    assert not found_in(visit.answers.encode(), visit.canaries())


def test_nothing_on_disk_holds_a_secret(visit: Visit) -> None:
    """Logs, trace store, records and configuration: no file of the state directory has a canary."""
    files = [path for path in visit.mesh.state_dir.rglob("*") if path.is_file() and not is_token(path)]
    assert any(path.suffix == ".log" for path in files)
    assert any(path.name.startswith("traces") for path in files)
    assert any(path.name.startswith("edge.sqlite3") for path in files)
    leaks = {str(path): found_in(path.read_bytes(), visit.canaries()) for path in files}
    assert not {path: found for path, found in leaks.items() if found}


def is_token(path: Path) -> bool:
    """The tokens that `up` itself writes for its user, and the models' weights, where any bytes may stand."""
    return path.suffix in (".token", ".onnx")


def test_no_metric_holds_a_secret(visit: Visit) -> None:
    """/metrics of every service and Envoy's statistics show no canary."""
    for service, addresses in visit.mesh.services.items():
        for address in addresses if service != "valkey" else ():  # which shows nothing to Prometheus
            assert not found_in(visit.mesh.metrics(address).encode(), visit.canaries()), address
    for path in ("/stats", "/stats/prometheus", "/clusters", "/config_dump"):
        assert not found_in(visit.mesh.envoy_admin(path).encode(), visit.canaries()), path


def test_private_keys_and_tokens_are_for_their_owner_only(mesh: Mesh) -> None:
    """Files that hold a secret are 0600; the record of issued keys holds none."""
    secrets = [*mesh.state_dir.glob("*.token"), *(mesh.state_dir / "keys").glob("*.pem")]
    assert len(secrets) >= 3
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in secrets} == {
        path.name: "0o600" for path in secrets
    }
    record = (mesh.state_dir / "keys" / "issued.jsonl").read_text()
    assert mesh.demo_token not in record
    assert mesh.demo_token.rpartition(".")[2] not in record
