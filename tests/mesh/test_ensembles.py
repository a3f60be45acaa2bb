"""`minilm` is an ensemble: its steps in a trace, in counts and on the bill; and without one of them."""

from typing import Any

import grpc
import numpy as np
import pytest

from headrace.inference.v2 import grpc_service_pb2 as pb
from tests.conftest import MeshOf
from tests.support.controlled import EXPLICIT, operator
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, bearer, headrace
from tests.support.requests import text
from tests.support.traces import links_to, trace

STEPS = ("minilm-tokenizer", "minilm-encoder")


def embed(mesh: Mesh, *texts: str) -> tuple[np.ndarray[Any, Any], dict[str, str]]:
    """The embeddings, and what the answer's trailing metadata tells."""
    request = text("minilm", "text", [one.encode() for one in texts])
    with mesh.inference() as stub:
        answer, call = stub.ModelInfer.with_call(
            request, timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.demo_token)
        )
    told = {name: str(value) for name, value in call.trailing_metadata()}
    return np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(len(texts), 384), told


def counts(stub: Any, mesh: Mesh, model: str) -> tuple[int, int]:
    """What the model has inferred and executed so far."""
    told = stub.ModelStatistics(pb.ModelStatisticsRequest(name=model), metadata=operator(mesh), timeout=30)
    (stats,) = told.model_stats
    return stats.inference_count, stats.execution_count


def test_a_trace_shows_each_step_with_its_wait_and_its_batch(mesh: Mesh) -> None:
    """Below the request's span, in their order; each step and its batch point at each other."""
    _, told = embed(mesh, "a trace of two steps")
    found = trace(
        mesh,
        told["headrace-trace-id"],
        lambda seen: len(seen.linked) == 2 and len(seen.of("inference", "queue")) == 2,
    )
    steps = [found.of("inference", f"step {model}")[0] for model in STEPS]
    assert tuple(step.attributes["headrace.model"] for step in steps) == STEPS
    first, second = (step.start_time.ToNanoseconds() for step in steps)
    assert first < second
    parents = [found.parent_of(step) for step in steps]
    assert {parent.name for parent in parents if parent} == {"inference.GRPCInferenceService/ModelInfer"}
    waits = [found.parent_of(queue) for queue in found.of("inference", "queue")]
    assert {wait.span_id for wait in waits if wait} == {step.span_id for step in steps}
    for step in steps:
        (batch,) = [one for one in found.linked if links_to(step, one)]
        assert links_to(batch, step)
        assert batch.attributes["headrace.model"] == step.attributes["headrace.model"]


def test_each_model_counts_its_own(mesh: Mesh) -> None:
    """One request is one run of the ensemble and one of each step; and one charge."""
    models = ("minilm", *STEPS)
    with mesh.inference() as stub:
        before = [counts(stub, mesh, model) for model in models]
        _, told = embed(mesh, "counted once", "by each of them")
        after = [counts(stub, mesh, model) for model in models]
    grown = [(now[0] - then[0], now[1] - then[1]) for then, now in zip(before, after, strict=True)]
    assert grown == [(2, 1)] * 3
    assert int(told["headrace-compute-us"]) > 0
    assert told["headrace-batch-size"] == "2"


def test_texts_of_a_request_are_embedded_as_if_alone(mesh: Mesh) -> None:
    """However different their lengths; the encoder's padding stays what was agreed on."""
    texts = ["short", " ".join(["a long text about water"] * 20), "neither short nor very long"]
    together, _ = embed(mesh, *texts)
    alone = np.concatenate([embed(mesh, one)[0] for one in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_who_asks_why_is_told_where_it_is_batched(mesh: Mesh) -> None:
    """`headrace models explain` of an ensemble names its steps; of a step it has the batches."""
    embed(mesh, "explained")
    told = headrace("models", "explain", "minilm", "--state-dir", mesh.state_dir)
    assert "batched in their own models' queues: minilm-tokenizer, minilm-encoder" in told
    assert "WHAT BATCHES COST" not in told


def test_its_configuration_is_the_one_it_was_given(mesh: Mesh) -> None:
    """With its steps and their maps."""
    with mesh.inference() as stub:
        config = stub.ModelConfig(
            pb.ModelConfigRequest(name="minilm"), metadata=operator(mesh), timeout=30
        ).config
    assert config.platform == "ensemble"
    assert tuple(step.model_name for step in config.ensemble_scheduling.step) == STEPS


@pytest.mark.parametrize("step", STEPS)
def test_without_a_step_it_is_not_ready(mesh_of: MeshOf, step: str) -> None:
    """On every replica, with the step's name; and ready again with it."""
    mesh = mesh_of(EXPLICIT)
    with mesh.inference() as stub:

        def ready() -> bool:
            asked = pb.ModelReadyRequest(name="minilm")
            return bool(stub.ModelReady(asked, metadata=operator(mesh), timeout=30).ready)

        assert ready()
        unload = pb.RepositoryModelUnloadRequest(model_name=step)
        stub.RepositoryModelUnload(unload, metadata=operator(mesh), timeout=60)
        try:
            assert not ready()
            with pytest.raises(grpc.RpcError, match=f"{step}.*does not serve"):
                embed(mesh, "nobody tokenises this")
        finally:
            load = pb.RepositoryModelLoadRequest(model_name=step)
            stub.RepositoryModelLoad(load, metadata=operator(mesh), timeout=60)
        assert ready()
    assert embed(mesh, "and now it works")[0].shape == (1, 384)
