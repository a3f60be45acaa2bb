"""The levels of the cache, nearest first, and what reaches each of them: from gRPC, from REST, after a restart."""

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from headrace.cache.client import AnswerKeys, read_secret
from headrace.cache.v1.cache_pb2 import LEVEL_MEMORY
from headrace.cache.v1.cache_service_pb2 import GetRequest, GetResponse
from headrace.inference.folders import Repository
from headrace.inference.loader import Loader
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from headrace.local.statedir import StateDir
from tests.conftest import MeshOf
from tests.support.cached import (
    CACHED,
    TIGHT,
    Answer,
    ask,
    cache_stub,
    cached,
    killed,
    stored_entries,
    until_well,
)
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, bearer
from tests.support.requests import Floats, distinct_rows, output
from tests.support.waiting import eventually

PATH = f"/v2/models/{CACHED}/infer"
TENANT = "demo"
TTL_S = 3600.0
TRIES = 8
ASKED = 40
"""So many requests reach both replicas, however the gateway chooses."""


@pytest.fixture(scope="module")
def pair(mesh_of: MeshOf) -> Mesh:
    """Two replicas with one cache, whole."""
    running = mesh_of(TIGHT)
    until_well(running)
    return running


def stored(mesh: Mesh, first: Callable[[], Answer]) -> Answer:
    """An answer that was computed, once every level behind the replica's own has it."""
    before = stored_entries(mesh)
    answer = first()
    assert answer.level == "miss", answer.told
    eventually(lambda: stored_entries(mesh) > before, "the answer is stored")
    return answer


def repeated(stub: GRPCInferenceServiceStub, x: Floats, token: str) -> dict[str, list[Answer]]:
    """Answers to the same request under names of their own, by replica, in order."""
    answers: dict[str, list[Answer]] = {}
    for number in range(ASKED):
        answer = ask(stub, cached(x, f"again-{number}"), token)
        assert answer.message.id == f"again-{number}"
        answers.setdefault(answer.replica, []).append(answer)
    return answers


def levels(answers: list[Answer]) -> list[str]:
    return [answer.level for answer in answers]


def test_each_replica_answers_from_the_nearest_level(pair: Mesh) -> None:
    """A miss, then near; the other replica finds it in the service's memory first. Bit by bit one answer, each with its caller's id."""
    assert any(answered_from_near_and_memory(pair, seed) for seed in range(110, 110 + TRIES))


def answered_from_near_and_memory(pair: Mesh, seed: int) -> bool:
    """Whether each look-up was within its budget; a busy machine may make one a miss, never a wrong answer."""
    x, token = distinct_rows(1, seed=seed), pair.demo_token
    with pair.inference() as stub:
        first = stored(pair, lambda: ask(stub, cached(x, "first"), token))
        assert (first.message.id, first.executed) == ("first", True)
        answers = repeated(stub, x, token)
    own = answers.pop(first.replica)
    (other,) = answers.values()
    assert {answer.content for answer in own + other} == {first.content}
    assert levels(own) == ["near"] * len(own)
    assert levels(other[1:]) == ["near"] * len(other[1:])
    assert other[0].executed == (other[0].level == "miss")
    return other[0].level == "memory"


def test_a_restarted_cache_answers_from_the_store(pair: Mesh) -> None:
    """kill -9 of the service: its memory is gone and the near-caches forget, Valkey still has the answer; its life goes on, it isn't renewed."""
    assert any(answered_from_the_store(pair, seed) for seed in range(130, 130 + TRIES))


def answered_from_the_store(pair: Mesh, seed: int) -> bool:
    """Whether each look-up was within its budget."""
    x, token = distinct_rows(1, seed=seed), pair.demo_token
    with pair.inference() as stub:
        began = time.monotonic()
        first = stored(pair, lambda: ask(stub, cached(x, "first"), token))
        killed(pair, "cache")
        until_well(pair)
        answers = repeated(stub, x, token)
    lived_s = time.monotonic() - began
    assert {answer.content for replica in answers.values() for answer in replica} == {first.content}
    asked = levels([replica[0] for replica in answers.values()])
    if sorted(asked) != ["memory", "redis"]:
        return False
    again = looked_up(pair, x)
    assert again.level == LEVEL_MEMORY
    assert TTL_S - lived_s - 2.0 < again.time_to_live.ToNanoseconds() / 1e9 < TTL_S - 0.5
    return True


def looked_up(mesh: Mesh, x: Floats) -> GetResponse:
    """What the service itself has for the request, asked by its key as a replica does."""
    state = StateDir(mesh.state_dir)
    keys = AnswerKeys(read_secret(state.cache_key, "key"))
    prefix = keys.prefix(TENANT, CACHED, Loader(Repository(state.models), {}).load(CACHED)[-1].digest)
    key = keys.key(prefix, [("x", "FP32", x.shape, x.tobytes())], {}, ["y"])
    with cache_stub(mesh) as stub:
        return stub.Get(
            GetRequest(key=key, tenant=TENANT, model=CACHED),
            timeout=CALL_TIMEOUT_S,
            metadata=bearer(mesh.token("operator", "operate")),
        )


def post(mesh: Mesh, x: Floats, name: str, **headers: str) -> httpx.Response:
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    with mesh.http(mesh.demo_token) as client:
        answer = client.post(PATH, json={"id": name, "inputs": [tensor]}, headers=headers)
    return answer.raise_for_status()


def test_rest_answers_come_from_the_same_levels(pair: Mesh) -> None:
    """A miss by REST, then near and memory: the document is the same but for the id; gRPC gets the same numbers from the same entry."""
    x, name = distinct_rows(1, seed=103), "first"
    before = stored_entries(pair)
    first = post(pair, x, name)
    assert first.headers["headrace-cache"] == "miss"
    eventually(lambda: stored_entries(pair) > before, "the answer is stored")
    again = [post(pair, x, f"again-{number}") for number in range(ASKED)]
    assert [document(answer)["id"] for answer in again] == [f"again-{number}" for number in range(ASKED)]
    assert {answer.headers["headrace-cache"] for answer in again[2:]} <= {"near", "memory"}
    assert {answer.headers["headrace-batch-size"] for answer in again[2:]} == {"0"}
    assert {first.text} == {answer.text.replace(document(answer)["id"], name) for answer in again}
    with pair.inference() as stub:
        by_grpc = ask(stub, cached(x), pair.demo_token)
    assert by_grpc.level in ("near", "memory")
    numbers = np.array(document(first)["outputs"][0]["data"], np.float32)
    assert numbers.tobytes() == output(by_grpc.message, "y").tobytes()


def document(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.text)
    return found


@pytest.mark.parametrize(
    ("control", "seed"), [("no-store", 105), ("no-cache", 106), ("max-age=0, No-Store", 107)]
)
def test_a_caller_opts_out(pair: Mesh, control: str, seed: int) -> None:
    """With `cache-control: no-store` the model works though an answer is kept; the answer isn't kept either."""
    kept, other = distinct_rows(2, seed=seed)[:, None, :]
    header = ("cache-control", control)
    with pair.inference() as stub:
        ask(stub, cached(kept), pair.demo_token)
        for x in (kept, other, other):
            answer = ask(stub, cached(x), pair.demo_token, header)
            assert answer.executed
            assert answer.level == ""
        assert ask(stub, cached(other), pair.demo_token).level == "miss"
    assert "headrace-cache" not in post(pair, kept, "opted out", **{"cache-control": control}).headers


def test_only_models_that_opted_in_are_cached(pair: Mesh) -> None:
    """`linear` is computed each time, and no level is told."""
    x = distinct_rows(1, seed=104)
    request = cached(x)
    request.model_name = "linear"
    with pair.inference() as stub:
        answers = [ask(stub, request, pair.demo_token) for _ in range(5)]
    assert all(answer.executed and answer.level == "" for answer in answers)
