"""The trace of a cacheable request says where its answer came from."""

from uuid import uuid4

import pytest

from headrace.insight.v1.trace_pb2 import SPAN_KIND_CLIENT, SPAN_KIND_SERVER, Span
from tests.conftest import MeshOf
from tests.support.cached import TIGHT, Answer, ask, cached, until_well
from tests.support.mesh import Mesh
from tests.support.requests import distinct_rows
from tests.support.traces import Trace, links_to, trace

SERVER = "inference.GRPCInferenceService/ModelInfer"
LOOK_UP = "headrace.cache.v1.CacheService/Get"
TRIES = 8
ASKED = 40


@pytest.fixture(scope="module")
def pair(mesh_of: MeshOf) -> Mesh:
    """Two replicas with one cache, whole."""
    running = mesh_of(TIGHT)
    until_well(running)
    return running


def traced(mesh: Mesh, answer: Answer, *needed: tuple[str, str]) -> Trace:
    """The answer's trace once it has the gateway's span, the replica's and those needed, each (service, name)."""

    def whole(found: Trace) -> bool:
        names = (("inference", SERVER), *needed)
        return bool(found.of("gateway")) and all(found.of(*name) for name in names)

    return trace(mesh, answer.told["headrace-trace-id"], whole)


def names(found: Trace) -> set[str]:
    """The replica's own spans below its server span."""
    return {span.name for span in found.of("inference")} - {SERVER}


def only(found: Trace, service: str, name: str) -> Span:
    (span,) = found.of(service, name)
    return span


def test_a_miss_shows_all_that_was_asked(pair: Mesh) -> None:
    """Guard, near-cache, cache with the service's own span as its child, queue; and the batch, linked."""
    found = missed(pair, 601)
    server = only(found, "inference", SERVER)
    assert names(found) == {"guard", "near-cache", "cache", "queue"}
    for name in names(found):
        assert found.parent_of(only(found, "inference", name)) == server, name
    assert only(found, "inference", "near-cache").attributes["headrace.cache.hit"] == "false"
    asked, answered = only(found, "inference", "cache"), only(found, "cache", LOOK_UP)
    assert (asked.kind, answered.kind) == (SPAN_KIND_CLIENT, SPAN_KIND_SERVER)
    assert asked.attributes["headrace.cache.level"] == "miss"
    assert found.parent_of(answered) == asked
    (batch,) = found.linked
    assert links_to(server, batch)


def test_a_near_hit_shows_nothing_else(pair: Mesh) -> None:
    """The near-cache had it: no other was asked, nothing was executed."""
    answer = answered_from(pair, "near", 602)
    found = traced(pair, answer, ("inference", "near-cache"))
    assert names(found) - {"guard"} == {"near-cache"}
    assert only(found, "inference", "near-cache").attributes["headrace.cache.hit"] == "true"
    assert not found.of("cache")
    assert not found.linked


def test_a_hit_in_the_service_shows_its_level(pair: Mesh) -> None:
    """The near-cache hadn't it, the service had, and tells on which level."""
    answer = answered_from(pair, "memory", 603)
    found = traced(pair, answer, ("inference", "cache"), ("cache", LOOK_UP))
    assert names(found) - {"guard"} == {"near-cache", "cache"}
    assert only(found, "inference", "near-cache").attributes["headrace.cache.hit"] == "false"
    assert only(found, "inference", "cache").attributes["headrace.cache.level"] == "memory"
    assert not found.linked


def missed(mesh: Mesh, seed: int) -> Trace:
    """A miss that the cache service told, of a tenant that the guard has to be asked about."""
    for x in distinct_rows(TRIES, seed=seed)[:, None, :]:  # a busy machine may make the service too late
        token = mesh.token(f"traced-{uuid4().hex[:8]}", "infer")
        with mesh.inference() as stub:
            answer = ask(stub, cached(x), token)
        assert answer.level == "miss"
        found = traced(mesh, answer, ("inference", "cache"), ("inference", "queue"))
        if "error.type" not in only(found, "inference", "cache").attributes:
            return traced(mesh, answer, ("inference", "queue"), ("cache", LOOK_UP))
    raise AssertionError("the cache service never answered within its budget")


def answered_from(mesh: Mesh, level: str, seed: int) -> Answer:
    """An answer from this level: one replica has what was asked before near, the other in the service's memory."""
    for x in distinct_rows(TRIES, seed=seed)[:, None, :]:  # a busy machine may make some look-up a miss
        with mesh.inference() as stub:
            answers = (ask(stub, cached(x), mesh.demo_token) for _ in range(ASKED))
            found = next((answer for answer in answers if answer.level == level), None)
        if found is not None:
            return found
    raise AssertionError(f"no answer from {level}")
