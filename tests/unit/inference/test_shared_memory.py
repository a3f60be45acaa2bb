"""Tensors in shared memory are answered, kept and charged as those in a request."""

import asyncio
import os
import resource
import threading
from collections.abc import MutableMapping
from pathlib import Path

import numpy as np
import pytest

from headrace.inference.core.memory import Region, Use
from headrace.inference.models import Models
from headrace.inference.regions import RegionProblem, Regions
from headrace.inference.shared_memory import SharedMemory
from headrace.inference.v2.grpc_service_pb2 import InferParameter, ModelInferRequest, ModelInferResponse
from headrace.metering.client import UsageKind
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call, Caller
from tests.fakes.replica import CLOCK, Replica, encoded, replica, request

BYTES = 4096
ROW = 8
"""Bytes of a row, two FP32."""


@pytest.fixture
def shm(tmp_path: Path) -> Path:
    """Where shared memory is, with an object: a row of 3, and nothing behind it."""
    (tmp_path / "shm").mkdir()
    (tmp_path / "shm" / "a").write_bytes(np.full(2, 3.0, np.float32).tobytes() + bytes(56))
    return tmp_path / "shm"


def sharing(one: Replica, shm: Path) -> SharedMemory:
    """The replica's service, with the object registered as `r` by its tenant."""
    regions = Regions(shm.parent / "registered", shm)
    regions.register("acme", "r", Region("/a", 0, 64))
    return SharedMemory(
        one.service, Models([one.model]), regions, max_request_bytes=BYTES, max_bytes=2 * BYTES
    )


def in_memory(*, out: bool) -> ModelInferRequest:
    """The request for twice 3, with its input in memory, and with `out` its output behind that."""
    message = request(3.0)
    del message.raw_input_contents[:]
    place(message.inputs[0].parameters, 0)
    if out:
        place(message.outputs.add(name="y").parameters, ROW)
    return message


def place(parameters: MutableMapping[str, InferParameter], offset: int) -> None:
    parameters["shared_memory_region"].string_param = "r"
    parameters["shared_memory_byte_size"].int64_param = ROW
    parameters["shared_memory_offset"].int64_param = offset


def call() -> Call:
    return Call("/test", {}, Caller("acme", frozenset()), CLOCK.monotonic())


async def asked(service: SharedMemory, *, out: bool = True) -> tuple[ModelInferResponse, dict[str, str]]:
    of = call()
    answer = ModelInferResponse.FromString(await service.infer(in_memory(out=out), of, encoded))
    return answer, dict(of.trailing)


def written(shm: Path) -> list[float]:
    """The output in memory, which is wiped."""
    content = (shm / "a").read_bytes()
    (shm / "a").write_bytes(content[:ROW] + bytes(56))
    return np.frombuffer(content[ROW : 2 * ROW], np.float32).tolist()


async def test_a_key_is_of_the_bytes_wherever_they_lay(shm: Path) -> None:
    """Found under the key of the same row sent in a request, and the other way round; another row has another key."""
    async with replica(cacheable=True) as one:
        service = sharing(one, shm)
        await one.infer(3.0)
        answer, told = await asked(service, out=False)
        assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [6.0, 6.0]
        assert told["headrace-cache"] == "memory"
        assert len(set(one.shelf.asked)) == 1
        (shm / "a").write_bytes(np.full(2, 4.0, np.float32).tobytes() + bytes(56))
        _, told = await asked(service, out=False)
        assert told["headrace-cache"] == "miss"
        _, told = await one.infer(4.0)
        assert told["headrace-cache"] == "memory"
    assert len(one.backend.runs) == 2


async def test_a_kept_answer_is_written_as_a_computed_one(shm: Path) -> None:
    """On a miss, from the cache and from the near-cache; where it lies is no part of what is kept, nor of the key."""
    async with replica(cacheable=True) as one:
        service = sharing(one, shm)
        answers = []
        for level in ("miss", "memory", "near"):
            if level == "near":
                one.shelf.near_answers = one.shelf.answers
            answer, told = await asked(service)
            assert told["headrace-cache"] == level
            assert written(shm) == [6.0, 6.0]
            answers.append(answer)
        assert answers[0] == answers[1] == answers[2]
        assert list(answers[0].raw_output_contents) == [b""]
        (kept,) = one.shelf.answers.values()
        stored = ModelInferResponse.FromString(kept)
        assert not stored.outputs[0].parameters
        assert stored.raw_output_contents[0] == np.full(2, 6.0, np.float32).tobytes()
        assert (await one.infer(3.0))[0] == [6.0, 6.0]
    kinds = [event.kind for event in one.usage.events]
    assert kinds == [UsageKind.EXECUTED, *[UsageKind.CACHED] * 3]


async def test_what_finds_no_place_is_charged(shm: Path) -> None:
    """The model has worked: memory that was taken away meanwhile makes nothing free of charge."""
    gate = threading.Event()
    async with replica(gate=gate) as one:
        answer = asyncio.create_task(asked(sharing(one, shm)))
        await asyncio.to_thread(one.backend.started.acquire)
        os.truncate(shm / "a", ROW)
        gate.set()
        with pytest.raises(HeadraceError) as error:
            await answer
    assert error.value.metadata["field"] == "outputs[0].parameters[shared_memory_byte_size]"
    (event,) = one.usage.events
    assert (event.kind, event.response_bytes, one.usage.reserved) == (UsageKind.EXECUTED, 0, 0)
    assert event.cpu_ns > 0


async def test_memory_in_use_is_bounded(shm: Path) -> None:
    """Of a request and of all together; refused before anything is read."""
    async with replica() as one:
        regions = Regions(shm.parent / "registered", shm)
        models = Models([one.model])
        for bounds, reason in (((ROW, BYTES), "TENSOR_INVALID"), ((BYTES, ROW), "OVERLOADED")):
            service = SharedMemory(
                one.service, models, regions, max_request_bytes=bounds[0], max_bytes=bounds[1]
            )
            with pytest.raises(HeadraceError) as error:
                await service.infer(in_memory(out=True), call(), encoded)
            assert error.value.reason == reason
        assert not one.backend.runs


def test_memory_without_pages_is_an_error(shm: Path) -> None:
    """An object may be longer than there is memory for: writing says so, with the tensor."""
    regions = Regions(shm.parent / "registered", shm)
    os.truncate(shm / "a", BYTES)
    regions.register("acme", "r", Region("/a", 0, BYTES))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROW, hard))  # as little as a full memory takes
    try:
        with pytest.raises(RegionProblem, match="no memory left") as error:
            regions.write("acme", [(Use("r", 64, ROW, "outputs[0]"), bytes(ROW))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.tensor == "outputs[0]"
