"""`telemetry.otlp_endpoint` of headrace.yaml: the spans of the whole mesh at another receiver."""

from collections.abc import Iterator

import grpc
import pytest

from headrace.insight.v1.insight_service_pb2 import ListTracesRequest
from tests.conftest import MeshOf
from tests.support.cache import ROOT
from tests.support.commands import run
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, MeshOptions, bearer, environment, headrace_command
from tests.support.receiver import Receiver, receiving
from tests.support.requests import distinct_rows, linear
from tests.support.traces import EXPORT_WITHIN_S, links_to, trace
from tests.support.waiting import eventually

MODEL_INFER = "inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A receiver that outlives the meshes of this module's tests."""
    with receiving() as running:
        yield running


def infer(mesh: Mesh) -> str:
    """One request's trace."""
    with mesh.inference() as stub:
        _, call = stub.ModelInfer.with_call(
            linear(distinct_rows(1)), timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.demo_token)
        )
        return str(dict(call.trailing_metadata())["headrace-trace-id"])


def arrived(receiver: Receiver, trace_id: str) -> set[tuple[str, str, str]]:
    """Service, name and identifier of the trace's spans and of the batches that are linked with it."""

    def whole() -> set[tuple[str, str, str]] | None:
        found = {
            (service, span.name, span.span_id.hex())
            for service, span in receiver.spans()
            if span.trace_id.hex() == trace_id or any(link.trace_id.hex() == trace_id for link in span.links)
        }
        kinds = {(service, name) for service, name, _ in found}
        services = {service for service, _ in kinds}
        executed = {("inference", MODEL_INFER), ("inference", "queue"), ("inference", "batch")} <= kinds
        return found if executed and "gateway" in services else None

    return eventually(whole, f"gateway, inference and batch of {trace_id} arrive", EXPORT_WITHIN_S)


def config(*endpoints: str) -> MeshOptions:
    """A mesh whose spans go there."""
    return MeshOptions(config=f"telemetry: {{otlp_endpoint: [{', '.join(map(repr, endpoints))}]}}\n")


def test_beside_insight(mesh_of: MeshOf, receiver: Receiver) -> None:
    """The receiver gets the spans of gateway, inference and batch, and insight has the very same ones."""
    mesh = mesh_of(config("insight", receiver.address))
    trace_id = infer(mesh)
    there = arrived(receiver, trace_id)
    here = trace(mesh, trace_id, lambda found: len(found.spans) + len(found.linked) == len(there))
    assert {(span.service, span.name, span.span_id) for span in [*here.spans, *here.linked]} == there
    (batch,) = [span for span in here.linked if span.name == "batch"]
    (server,) = here.of("inference", MODEL_INFER)
    assert links_to(batch, server)


def test_instead_of_insight(mesh_of: MeshOf, receiver: Receiver) -> None:
    """The receiver gets them all; insight keeps nothing and says so."""
    mesh = mesh_of(config(receiver.address))
    arrived(receiver, infer(mesh))
    with mesh.insight() as stub, pytest.raises(grpc.RpcError) as raised:
        stub.ListTraces(ListTracesRequest(), timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.operator_token))
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    shown = run(
        headrace_command("trace", "last", "--state-dir", mesh.state_dir), env=environment({}), cwd=ROOT
    )
    assert (shown.returncode, "keeps no traces" in shown.stderr) == (1, True)
    assert not (mesh.state_dir / "traces.sqlite3").exists()
