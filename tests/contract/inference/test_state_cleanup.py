"""However a request ends, nothing of it is left: the model that it held can be unloaded, the next one is served."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from headrace.inference.settings import RepositorySettings
from headrace.inference.v2 import grpc_service_pb2 as pb
from tests.contract.inference.conftest import Replica, running
from tests.contract.inference.test_model_control import load, ready, unload
from tests.contract.inference.test_streams import scale, slow, stream
from tests.support.models import SLOW, SLOW_CONFIG, slow_model
from tests.support.small import write_onnx, write_scale

STEPS = 400  # about a tenth of a second
WITHIN_S = 30.0


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Replica]:
    """A replica whose models can be unloaded."""
    write_scale(tmp_path / "models")
    write_onnx(tmp_path / "models", SLOW, slow_model(), config=SLOW_CONFIG)
    repository = RepositorySettings(tmp_path / "models", "explicit", load=("*",))
    async with running(tmp_path, repository=repository) as replica:
        yield replica


async def unary(one: Replica, request: pb.ModelInferRequest, deadline_s: float | None = None) -> Any:
    return await one.stub.ModelInfer(request, metadata=one.bearer(), timeout=deadline_s)


async def succeeds(one: Replica) -> None:
    await unary(one, slow(STEPS))


async def is_refused(one: Replica) -> None:
    wrong = slow(1)
    wrong.inputs[0].shape[0] = 99
    with pytest.raises(grpc.aio.AioRpcError):
        await unary(one, wrong)


async def fails(one: Replica) -> None:
    poisoned = slow(1)
    poisoned.raw_input_contents[2] = (7).to_bytes(8, "little")
    with pytest.raises(grpc.aio.AioRpcError):
        await unary(one, poisoned)


async def is_cancelled(one: Replica) -> None:
    calls = [asyncio.create_task(unary(one, slow(STEPS))) for _ in range(12)]
    await asyncio.sleep(0)
    await unary(one, scale(1.0))  # the others have reached the server
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def passes_its_deadline(one: Replica) -> None:
    calls = [unary(one, slow(STEPS), deadline_s=0.05) for _ in range(12)]
    assert any(await asyncio.gather(*calls, return_exceptions=True))


async def is_a_stream_that_ends(one: Replica) -> None:
    assert len([answer async for answer in stream(one, [slow(1, str(n)) for n in range(5)])]) == 5


async def is_a_stream_that_is_cancelled(one: Replica) -> None:
    call = stream(one)
    for number in range(12):
        await call.write(slow(STEPS, str(number)))
    await call.write(scale(1.0, "last"))
    await call.read()
    call.cancel()


async def is_a_stream_whose_client_goes(one: Replica) -> None:
    channel = grpc.aio.insecure_channel(one.address)
    method: Any = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer", None, None)
    call = method(metadata=one.bearer())
    for number in range(12):
        await call.write(slow(STEPS, str(number)).SerializeToString())
    await call.write(scale(1.0, "last").SerializeToString())
    await call.read()
    await channel.close(None)


async def is_a_stream_with_an_error(one: Replica) -> None:
    call = stream(one, [slow(STEPS, "a"), scale(1.0, "b", "absent")], ("triton_grpc_error", "true"))
    with pytest.raises(grpc.aio.AioRpcError):
        await call.read()


@pytest.mark.parametrize(
    "ends",
    [
        succeeds,
        is_refused,
        fails,
        is_cancelled,
        passes_its_deadline,
        is_a_stream_that_ends,
        is_a_stream_that_is_cancelled,
        is_a_stream_whose_client_goes,
        is_a_stream_with_an_error,
    ],
)
async def test_nothing_is_left_of_a_request_that(one: Replica, ends: Any) -> None:
    """An unload waits for whoever holds the model: it returns, so nobody does."""
    await ends(one)
    async with asyncio.timeout(WITHIN_S):
        await unload(one, SLOW)
    assert not await ready(one, SLOW)
    await load(one, SLOW)
    await unary(one, slow(1))


async def test_a_replica_stops_while_it_loads_and_unloads(tmp_path: Path) -> None:
    """Both end; neither holds up the stop for ever, nor leaves a thread behind that crashes it."""
    write_scale(tmp_path / "models")
    warm = SLOW_CONFIG + (
        'model_warmup { name: "w" count: 3'
        ' inputs { key: "rows" value { data_type: TYPE_FP32 dims: 1 zero_data: true } }'
        ' inputs { key: "steps" value { data_type: TYPE_INT64 dims: 1 input_data_file: "steps" } }'
        ' inputs { key: "poison" value { data_type: TYPE_INT64 dims: 1 zero_data: true } } }'
    )
    folder = write_onnx(tmp_path / "models", SLOW, slow_model(), config=warm)
    (folder / "warmup").mkdir()
    (folder / "warmup" / "steps").write_bytes(STEPS.to_bytes(8, "little"))
    repository = RepositorySettings(tmp_path / "models", "explicit", load=("scale",))
    async with asyncio.timeout(WITHIN_S):
        async with running(tmp_path, repository=repository) as one:
            calls = [asyncio.create_task(load(one, SLOW)), asyncio.create_task(unload(one, "scale"))]
            await asyncio.sleep(0)
            await one.stub.ServerLive(pb.ServerLiveRequest(), metadata=one.bearer())
        await asyncio.gather(*calls, return_exceptions=True)
