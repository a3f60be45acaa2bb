"""Row 9: what a cache answers is, bit by bit, what the model would have computed."""

from collections import Counter
from random import Random

import numpy as np
import pytest

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from tests.conftest import MeshOf
from tests.support.cached import CACHED, TIGHT, Answer, ask, until_well
from tests.support.mesh import Mesh
from tests.support.requests import Floats
from tests.support.requests import linear as linear_request

DIFFERENT = 400
"""Of so many requests the random ones are: most are asked several times, from levels that hold some of them."""

ODD = np.array([0.0, -0.0, 1e-45, -1e-40, 3.4e38, -3.4e38, 1.0, np.nextafter(np.float32(1), 2)], np.float32)
"""Zeros of both signs, subnormals, the largest: numbers that are easily mistaken for others."""


@pytest.fixture(scope="module")
def pair(mesh_of: MeshOf) -> Mesh:
    """Two replicas with one cache, whole."""
    running = mesh_of(TIGHT)
    until_well(running)
    return running


@pytest.mark.parametrize(
    "count", [1_000, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_cached_is_computed(pair: Mesh, count: int) -> None:
    """`linear` and `linear-cached` are one model: the same random requests, of which many repeat, give the same bits from every level."""
    levels: Counter[str] = Counter()
    with pair.inference() as stub:
        for number in range(count):
            seed = Random(number).randrange(DIFFERENT)
            cached, computed = (
                answered(stub, request(seed, model, f"{number}"), pair.demo_token)
                for model in (CACHED, "linear")
            )
            assert cached.message.id == computed.message.id == f"{number}"
            assert plain(cached) == plain(computed), (seed, cached.level)
            assert computed.executed
            levels[cached.level] += 1
    assert levels["near"] + levels["memory"] + levels["redis"] > count // 2, levels
    assert levels.keys() == {"near", "memory", "redis", "miss"}, levels


def answered(stub: GRPCInferenceServiceStub, asked: ModelInferRequest, token: str) -> Answer:
    return ask(stub, asked, token)


def plain(answer: Answer) -> bytes:
    """All of the answer but the names of its caller and its model."""
    message = type(answer.message).FromString(answer.content)
    message.model_name = ""
    return message.SerializeToString(deterministic=True)


def request(seed: int, model: str, name: str) -> ModelInferRequest:
    """The request of this seed: some rows of ordinary or odd numbers, as raw bytes or as a list, with the output named or not."""
    draw = Random(seed)
    x = rows(draw, seed)
    made = linear_request(x, name, model)
    if draw.random() < 0.3:
        made.raw_input_contents.clear()
        made.inputs[0].contents.fp32_contents.extend(x.ravel().tolist())
    if draw.random() < 0.3:
        made.outputs.add(name="y")
    if draw.random() < 0.3:
        made.parameters["priority"].int64_param = draw.randrange(3)
    return made


def rows(draw: Random, seed: int) -> Floats:
    source = np.random.default_rng(seed)
    shape = (draw.randint(1, 4), 16)
    if draw.random() < 0.25:
        return source.choice(ODD, shape).astype(np.float32)
    return source.standard_normal(shape).astype(np.float32)
