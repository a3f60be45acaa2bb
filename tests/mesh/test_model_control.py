"""Models loaded and unloaded through the gateway, of two replicas, while requests are answered."""

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import pytest

from headrace.inference.v2 import grpc_service_pb2 as pb
from tests.conftest import MeshOf
from tests.support.commands import CommandFailed
from tests.support.controlled import EXPLICIT, operator, states
from tests.support.mesh import Mesh, bearer, headrace
from tests.support.small import write_scale

ASKED = 40
"""Requests for each question about both replicas: enough that none is left out."""


@pytest.fixture
def controlled(mesh_of: MeshOf) -> Mesh:
    return mesh_of(EXPLICIT)


def infer(stub: Any, mesh: Mesh, model: str) -> float:
    x = np.array([[1.0, 0.0]], np.float32)
    request = pb.ModelInferRequest(model_name=model, raw_input_contents=[x.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=x.shape)
    answer = stub.ModelInfer(request, metadata=operator(mesh), timeout=30)
    return float(np.frombuffer(answer.raw_output_contents[0], np.float32)[0])


def load(stub: Any, mesh: Mesh, model: str) -> None:
    stub.RepositoryModelLoad(
        pb.RepositoryModelLoadRequest(model_name=model), metadata=operator(mesh), timeout=60
    )


def refusal(error: grpc.RpcError) -> grpc.Call:
    """An RpcError that a call raises is the call."""
    return cast("grpc.Call", error)


def answers(mesh: Mesh, model: str) -> set[float | str]:
    """What the replicas answer, by many connections."""
    found: set[float | str] = set()
    for _ in range(ASKED // 8):
        with mesh.inference() as stub:
            for _ in range(8):
                try:
                    found.add(infer(stub, mesh, model))
                except grpc.RpcError as error:
                    found.add(refusal(error).code().name)
    return found


def test_a_load_and_an_unload_are_every_replicas(controlled: Mesh) -> None:
    """When the call returns, whichever replica is asked: all serve it, or none."""
    write_scale(controlled.state_dir / "models", "everywhere", 3.0)
    assert answers(controlled, "everywhere") == {"NOT_FOUND"}
    with controlled.inference() as stub:
        load(stub, controlled, "everywhere")
        assert answers(controlled, "everywhere") == {3.0}
        stub.RepositoryModelUnload(
            pb.RepositoryModelUnloadRequest(model_name="everywhere"),
            metadata=operator(controlled),
            timeout=60,
        )
        assert answers(controlled, "everywhere") == {"UNAVAILABLE"}


def test_a_reload_under_load_fails_no_request(controlled: Mesh) -> None:
    """Every grpc-status is OK through five reloads, each with other weights."""
    models = controlled.state_dir / "models"
    write_scale(models, "busy", 1.0)
    with controlled.inference() as stub:
        load(stub, controlled, "busy")
    done = threading.Event()
    codes: Counter[str] = Counter()
    seen: set[float] = set()

    def ask(_: int) -> None:
        with controlled.inference() as stub:
            while not done.is_set():
                try:
                    seen.add(infer(stub, controlled, "busy"))
                    codes["OK"] += 1
                except grpc.RpcError as error:
                    codes[refusal(error).code().name] += 1

    with ThreadPoolExecutor(6) as clients:
        asking = [clients.submit(ask, number) for number in range(6)]
        try:
            with controlled.inference() as stub:
                for factor in (2.0, 3.0, 4.0, 5.0, 6.0):
                    write_scale(models, "busy", factor)
                    load(stub, controlled, "busy")
                    assert infer(stub, controlled, "busy") == factor
        finally:
            done.set()
        for one in asking:
            one.result()
    assert set(codes) == {"OK"}, codes
    assert seen <= {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}


def test_a_replica_that_starts_again_serves_what_was_loaded(controlled: Mesh) -> None:
    """A crash forgets nothing of what was asked."""
    write_scale(controlled.state_dir / "models", "kept", 7.0)
    with controlled.inference() as stub:
        load(stub, controlled, "kept")
    wishes = json.loads((controlled.state_dir / "run" / "control" / "wishes.json").read_text())
    assert json.loads(wishes["wanted"]["model/kept"]["value"]) == {"loaded": True}


def test_the_command_loads_and_unloads(controlled: Mesh, tmp_path: Path) -> None:
    """`headrace models load NAME`, with a configuration of one's own, and `unload`; a mistake is told in words."""
    state = ("--state-dir", controlled.state_dir, "--json")
    write_scale(controlled.state_dir / "models", "commanded", 4.0)
    (tmp_path / "config.json").write_text('{"max_batch_size": 5}')
    loaded = headrace("models", "load", "commanded", "--config", tmp_path / "config.json", *state)
    assert json.loads(loaded) == {"model": "commanded", "loaded": True}
    listed = {row["name"]: row for row in json.loads(headrace("models", *state))["models"]}
    assert listed["commanded"]["max_batch_size"] == 5
    assert listed["linear"]["state"] == "READY"
    unloaded = headrace("models", "unload", "commanded", *state)
    assert json.loads(unloaded) == {"model": "commanded", "loaded": False}
    assert states(controlled)["commanded"] == "UNAVAILABLE"
    with pytest.raises(CommandFailed, match="no model 'absent'"):
        headrace("models", "load", "absent", *state)


def test_other_modes_refuse_by_name(mesh: Mesh) -> None:
    """The default loads all models at the start, and says which mode takes commands."""
    with mesh.inference() as stub, pytest.raises(grpc.RpcError) as error:
        load(stub, mesh, "linear")
    assert refusal(error.value).code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "'explicit'" in refusal(error.value).details()


def test_only_an_operator_changes_models(controlled: Mesh) -> None:
    """A tenant's token that may infer and observe may not load."""
    request = pb.RepositoryModelLoadRequest(model_name="linear")
    metadata = bearer(controlled.demo_token)
    with controlled.inference() as stub, pytest.raises(grpc.RpcError) as error:
        stub.RepositoryModelLoad(request, metadata=metadata, timeout=30)
    assert refusal(error.value).code() is grpc.StatusCode.PERMISSION_DENIED
