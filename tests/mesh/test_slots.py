"""Replicas of one machine share its cores: they take turns at its slots."""

import hashlib
import json

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.inference.v2.grpc_service_pb2 import ModelInferResponse
from tests.conftest import MeshOf
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, MeshOptions, bearer
from tests.support.requests import output, slow

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300)]

REQUESTS = 60
STEPS = 50
"""Of some 20 ms: a batch that takes a slot."""

TWO = MeshOptions(replicas=2)
APART = MeshOptions(replicas=2, config="inference:\n  share_slots: false\n")


def waits(mesh: Mesh) -> float:
    """Batches that waited for a slot, in all replicas."""
    families = (
        family
        for address in mesh.services["inference"]
        for family in text_string_to_metric_families(mesh.metrics(address))
    )
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "headrace_inference_slot_waits_total"
    )


def answered(call: "grpc.Future[ModelInferResponse]") -> float:
    return float(output(call.result(), "rows_out")[0, 0])


def all_answered(mesh: Mesh) -> None:
    """As many requests at once; each gets its own answer."""
    with mesh.inference() as stub:
        calls = [
            stub.ModelInfer.future(
                slow(STEPS, float(number)), timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.demo_token)
            )
            for number in range(REQUESTS)
        ]
        assert [answered(call) for call in calls] == [float(number) for number in range(REQUESTS)]


def test_replicas_wait_for_each_other_and_all_are_answered(mesh_of: MeshOf) -> None:
    """More batches are there than slots; the metric tells that some waited."""
    mesh = mesh_of(TWO)
    before = waits(mesh)
    all_answered(mesh)
    assert waits(mesh) > before


def test_with_the_setting_off_none_waits(mesh_of: MeshOf) -> None:
    """Each replica runs as many batches as it has instances."""
    mesh = mesh_of(APART)
    all_answered(mesh)
    assert waits(mesh) == 0


def test_replicas_remember_the_digests_of_large_files_for_each_other(mesh_of: MeshOf) -> None:
    """What one has read of `minilm`'s 90 MB the next one need not."""
    mesh = mesh_of(TWO)
    (weights,) = (mesh.state_dir / "models" / "minilm-encoder" / "1").glob("*.data")
    told = json.loads((mesh.state_dir / "run" / "control" / "digests.json").read_bytes())
    (known,) = (one for one in told if one["identity"][1] == weights.stat().st_ino)
    with weights.open("rb") as stream:
        assert known["digest"] == hashlib.file_digest(stream, "sha256").hexdigest()
