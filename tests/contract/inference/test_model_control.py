"""RepositoryModelLoad and -Unload over the wire: both dialects, every refusal, several replicas."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from headrace.inference.settings import RepositorySettings
from headrace.inference.v2 import grpc_service_pb2 as pb
from tests.contract.inference.conftest import Replica, running
from tests.contract.inference.test_contract import failure
from tests.support.small import write_scale
from tests.support.waiting import aeventually

OPERATOR = ("infer", "observe", "operate")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """`scale`, and `other`."""
    write_scale(tmp_path / "models", "scale", 2.0)
    write_scale(tmp_path / "models", "other", 5.0)
    return tmp_path / "models"


@asynccontextmanager
async def explicit(models: Path, *names: str, load: tuple[str, ...] = ()) -> AsyncIterator[list[Replica]]:
    """Replicas that share what they were asked to do."""
    shared = models.parent / "control"
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                running(
                    models.parent,
                    replica=name,
                    repository=RepositorySettings(models, "explicit", load=load, shared=shared),
                )
            )
            for name in names
        ]


async def load(replica: Replica, name: str, **parameters: Any) -> pb.RepositoryModelLoadResponse:
    request = pb.RepositoryModelLoadRequest(model_name=name)
    for key, value in parameters.items():
        request.parameters[key].string_param = value
    return await replica.stub.RepositoryModelLoad(request, metadata=replica.bearer(*OPERATOR))


async def unload(replica: Replica, name: str) -> pb.RepositoryModelUnloadResponse:
    request = pb.RepositoryModelUnloadRequest(model_name=name)
    return await replica.stub.RepositoryModelUnload(request, metadata=replica.bearer(*OPERATOR))


async def ready(replica: Replica, name: str, version: str = "") -> bool:
    request = pb.ModelReadyRequest(name=name, version=version)
    return bool((await replica.stub.ModelReady(request, metadata=replica.bearer())).ready)


async def infer(replica: Replica, name: str = "scale") -> float:
    x = np.array([[1.0, 0.0]], np.float32)
    request = pb.ModelInferRequest(model_name=name, raw_input_contents=[x.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=x.shape)
    answer = await replica.stub.ModelInfer(request, metadata=replica.bearer())
    return float(np.frombuffer(answer.raw_output_contents[0], np.float32)[0])


async def index(replica: Replica, **fields: Any) -> list[tuple[str, str, str, str]]:
    request = pb.RepositoryIndexRequest(**fields)
    answer = await replica.stub.RepositoryIndex(request, metadata=replica.bearer())
    return [(row.name, row.version, row.state, row.reason) for row in answer.models]


async def test_a_model_serves_from_its_load_to_its_unload(models: Path) -> None:
    """Explicit mode begins with nothing; the index tells each step."""
    async with explicit(models, "one") as (one,):
        assert await index(one) == [("other", "", "", ""), ("scale", "", "", "")]
        assert not await ready(one, "scale")
        await load(one, "scale")
        assert await infer(one) == 2.0
        assert await index(one, ready=True) == [("scale", "1", "READY", "")]
        await unload(one, "scale")
        assert not await ready(one, "scale")
        assert await index(one) == [("other", "", "", ""), ("scale", "1", "UNAVAILABLE", "unloaded")]
        code, info, _ = await failure(infer(one))
        assert (code.name, info.reason) == ("UNAVAILABLE", "MODEL_NOT_READY")


async def test_both_dialects_are_understood(models: Path) -> None:
    """Triton's model is field 2; KServe's is field 1, and its answer has the name and what became of it."""
    async with explicit(models, "one") as (one,):
        kserve = pb.RepositoryModelLoadRequest(repository_name="scale")  # the bytes of KServe's message
        answer = await one.stub.RepositoryModelLoad(kserve, metadata=one.bearer(*OPERATOR))
        assert (answer.model_name, answer.isLoaded) == ("scale", True)
        assert await ready(one, "scale")
        away = pb.RepositoryModelUnloadRequest(repository_name="scale")
        gone = await one.stub.RepositoryModelUnload(away, metadata=one.bearer(*OPERATOR))
        assert (gone.model_name, gone.isUnloaded) == ("scale", True)
        assert not await ready(one, "scale")


async def test_an_empty_message_loads_nothing(models: Path) -> None:
    """Neither dialect names a model."""
    async with explicit(models, "one") as (one,):
        code, info, _ = await failure(load(one, ""))
        assert (code.name, info.reason) == ("INVALID_ARGUMENT", "MODEL_NAME_INVALID")


@pytest.mark.parametrize(
    ("name", "parameters", "code", "reason"),
    [
        ("absent", {}, "NOT_FOUND", "MODEL_NOT_FOUND"),
        ("...", {}, "NOT_FOUND", "MODEL_NOT_FOUND"),
        ("model..1", {}, "NOT_FOUND", "MODEL_NOT_FOUND"),
        ("../etc", {}, "INVALID_ARGUMENT", "MODEL_NAME_INVALID"),
        ("a/../b", {}, "INVALID_ARGUMENT", "MODEL_NAME_INVALID"),
        ("/etc/passwd", {}, "INVALID_ARGUMENT", "MODEL_NAME_INVALID"),
        ("model/", {}, "INVALID_ARGUMENT", "MODEL_NAME_INVALID"),
        (" ..", {}, "INVALID_ARGUMENT", "MODEL_NAME_INVALID"),
        ("a\0b", {}, "INVALID_ARGUMENT", "MODEL_NAME_INVALID"),
        ("x" * 5000, {}, "INVALID_ARGUMENT", "MODEL_NAME_INVALID"),
        ("scale", {"file:1/model.onnx": "x"}, "INVALID_ARGUMENT", "SETTING_INVALID"),
        ("scale", {"file:../../x": "x"}, "INVALID_ARGUMENT", "SETTING_INVALID"),
        ("scale", {"nonsense": "x"}, "INVALID_ARGUMENT", "SETTING_INVALID"),
        ("scale", {"config": "{"}, "INVALID_ARGUMENT", "SETTING_INVALID"),
        ("scale", {"config": '{"name": "other"}'}, "INVALID_ARGUMENT", "SETTING_INVALID"),
        ("scale", {"config": '{"backend": "python"}'}, "FAILED_PRECONDITION", "MODEL_LOAD_FAILED"),
    ],
)
async def test_what_can_not_be_loaded_is_refused_by_name(
    models: Path, name: str, parameters: dict[str, str], code: str, reason: str
) -> None:
    """With the right code, nothing loaded, and what serves left alone."""
    async with explicit(models, "one", load=("other",)) as (one,):
        got, info, status = await failure(load(one, name, **parameters))
        assert (got.name, info.reason) == (code, reason)
        assert str(models) not in status.message
        assert await infer(one, "other") == 5.0
        assert await index(one, ready=True) == [("other", "1", "READY", "")]


async def test_a_named_repository_is_refused(models: Path) -> None:
    """There is one, without a name."""
    async with explicit(models, "one") as (one,):
        request = pb.RepositoryModelLoadRequest(repository_name="r", model_name="scale")
        call = one.stub.RepositoryModelLoad(request, metadata=one.bearer(*OPERATOR))
        assert (await failure(call))[1].reason == "REPOSITORY_UNKNOWN"
        assert (await failure(index(one, repository_name="r")))[1].reason == "REPOSITORY_UNKNOWN"


async def test_a_configuration_comes_with_one_load(models: Path) -> None:
    """ModelConfig tells it; the next load without one is by the folder again."""
    async with explicit(models, "one") as (one,):
        await load(one, "scale", config=json.dumps({"max_batch_size": 3}))
        request = pb.ModelConfigRequest(name="scale")
        told = await one.stub.ModelConfig(request, metadata=one.bearer())
        assert told.config.max_batch_size == 3
        await load(one, "scale")
        told = await one.stub.ModelConfig(request, metadata=one.bearer())
        assert told.config.max_batch_size == 32


async def test_other_modes_take_no_loads(models: Path) -> None:
    """FAILED_PRECONDITION that says which mode does."""
    for mode in ("none", "poll"):
        async with running(models.parent, repository=RepositorySettings(models, mode)) as one:
            for call in (load(one, "scale"), unload(one, "scale")):
                code, info, _ = await failure(call)
                assert (code.name, info.reason) == ("FAILED_PRECONDITION", "MODEL_CONTROL_OFF")
                assert dict(info.metadata) == {"mode": mode}
            assert await infer(one) == 2.0


async def test_replicas_agree(models: Path) -> None:
    """When the call returns, every replica that lives serves it; one that starts later does before it is ready."""
    async with explicit(models, "one", "two") as (one, two):
        await load(one, "scale", config=json.dumps({"max_batch_size": 3}))
        assert [await infer(replica) for replica in (one, two)] == [2.0, 2.0]
        async with explicit(models, "three") as (three,):
            assert await infer(three) == 2.0
            told = await three.stub.ModelConfig(pb.ModelConfigRequest(name="scale"), metadata=three.bearer())
            assert told.config.max_batch_size == 3
            await unload(three, "scale")
            assert [await ready(replica, "scale") for replica in (one, two, three)] == [False] * 3
        await load(two, "other")
        assert [await infer(replica, "other") for replica in (one, two)] == [5.0, 5.0]


async def test_a_replica_that_fails_is_named(models: Path) -> None:
    """The caller learns that not all serve it; the index of that replica tells why."""
    async with explicit(models, "one") as (one,):
        await load(one, "scale")
        write_scale(models, "scale", 3.0)
        async with explicit(models, "two") as (two,):
            assert (await infer(one), await infer(two)) == (2.0, 3.0)
            (models / "scale" / "1" / "model.onnx").write_bytes(b"no model")
            code, info, _ = await failure(load(one, "scale"))
            assert (code.name, info.reason) == ("FAILED_PRECONDITION", "MODEL_LOAD_FAILED")
            assert (await infer(one), await infer(two)) == (2.0, 3.0)


async def test_concurrent_loads_on_two_replicas_end_the_same(models: Path) -> None:
    """The last word is everybody's, whoever was asked."""
    async with explicit(models, "one", "two") as (one, two):
        for _ in range(3):
            sizes = [json.dumps({"max_batch_size": size}) for size in (3, 4, 5, 6)]
            asked = [load(r, "scale", config=c) for r, c in zip((one, two, one, two), sizes, strict=True)]
            await asyncio.gather(*asked)

            async def alike() -> bool:
                request = pb.ModelConfigRequest(name="scale")
                told = [await r.stub.ModelConfig(request, metadata=r.bearer()) for r in (one, two)]
                return bool(told[0] == told[1])

            await aeventually(alike)


async def test_a_changed_model_is_served_in_poll_mode(models: Path) -> None:
    """A new version, a changed one, a new model, and none that is gone."""
    settings = RepositorySettings(models, "poll", poll_s=0.05)
    async with running(models.parent, repository=settings) as one:

        async def answers(factor: float) -> bool:
            return await infer(one) == factor

        async def is_ready(name: str) -> bool:
            return await ready(one, name)

        write_scale(models, "scale", 7.0, version="2")
        await aeventually(lambda: answers(7.0))
        write_scale(models, "third", 9.0)
        await aeventually(lambda: is_ready("third"))
        assert await infer(one, "third") == 9.0
        (models / "other").rename(models.parent / "away")

        async def only_two() -> bool:
            return {row[0] for row in await index(one)} == {"scale", "third"}

        await aeventually(only_two)
        assert not await ready(one, "other")


async def test_settings_are_every_replicas(models: Path) -> None:
    """Logs and traces, in any mode; what is not there is named."""
    async with explicit(models, "one", "two") as (one, two):
        request = pb.LogSettingsRequest()
        request.settings["log_warning"].bool_param = False
        told = await one.stub.LogSettings(request, metadata=one.bearer(*OPERATOR))
        assert not told.settings["log_warning"].bool_param
        assert told.settings["log_info"].bool_param
        other = await two.stub.LogSettings(pb.LogSettingsRequest(), metadata=two.bearer(*OPERATOR))
        assert other == told
        trace = pb.TraceSettingRequest()
        trace.settings["trace_rate"].value.append("10")
        await two.stub.TraceSetting(trace, metadata=two.bearer(*OPERATOR))
        seen = await one.stub.TraceSetting(pb.TraceSettingRequest(), metadata=one.bearer(*OPERATOR))
        assert list(seen.settings["trace_rate"].value) == ["10"]
        trace.settings["trace_file"].value.append("x")
        code, info, _ = await failure(two.stub.TraceSetting(trace, metadata=two.bearer(*OPERATOR)))
        assert (code, info.metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "trace_file")
        trace.model_name = "absent"
        code, _, _ = await failure(two.stub.TraceSetting(trace, metadata=two.bearer(*OPERATOR)))
        assert code is grpc.StatusCode.NOT_FOUND


async def test_memory_is_not_shared(models: Path) -> None:
    """Status is empty; registering is refused with a reason; unregistering all is nothing to do."""
    async with explicit(models, "one") as (one,):
        bearer = one.bearer(*OPERATOR)
        system = await one.stub.SystemSharedMemoryStatus(
            pb.SystemSharedMemoryStatusRequest(), metadata=bearer
        )
        cuda = await one.stub.CudaSharedMemoryStatus(pb.CudaSharedMemoryStatusRequest(), metadata=bearer)
        assert (dict(system.regions), dict(cuda.regions)) == ({}, {})
        register = pb.SystemSharedMemoryRegisterRequest(name="r", key="/r", byte_size=8)
        code, info, _ = await failure(one.stub.SystemSharedMemoryRegister(register, metadata=bearer))
        assert (code.name, info.reason) == ("FAILED_PRECONDITION", "SHARED_MEMORY_OFF")
        device = pb.CudaSharedMemoryRegisterRequest(name="r")
        code, info, _ = await failure(one.stub.CudaSharedMemoryRegister(device, metadata=bearer))
        assert (code.name, info.reason) == ("UNIMPLEMENTED", "SHARED_MEMORY_UNSUPPORTED")
        named = pb.SystemSharedMemoryStatusRequest(name="r")
        assert (await failure(one.stub.SystemSharedMemoryStatus(named, metadata=bearer)))[
            0
        ].name == "NOT_FOUND"
        everything = pb.SystemSharedMemoryUnregisterRequest()
        await one.stub.SystemSharedMemoryUnregister(everything, metadata=bearer)
