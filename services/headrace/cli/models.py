"""`headrace models`: what can be inferred, and on which inputs."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.cli.errors import CliError
from headrace.cli.mesh import channel, listed, state_of, token
from headrace.cli.output import Output
from headrace.inference.v2 import grpc_service_pb2 as pb
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from headrace.runtime.channels import bearer

if TYPE_CHECKING:  # declared for types only
    from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceAsyncStub

DEADLINE_S = 10.0
LOAD_S = 600.0


def models(state_dir: Path, output: Output) -> None:
    """Every model of the repository, those that failed to load included."""
    state = state_of(state_dir)
    found = asyncio.run(_found(listed(state).gateway_address, token(state.operator_token)))
    output.document({"models": found})
    output.table(
        ["model", "version", "state", "batch", "inputs", "outputs"],
        [
            [
                str(model["name"]),
                str(model["version"]),
                f"{model['state']} {model['reason']}".strip() or "not loaded",
                str(model["max_batch_size"]),
                _signature(model["inputs"]),
                _signature(model["outputs"]),
            ]
            for model in found
        ],
    )


def load(name: str, config: Path | None, state_dir: Path, output: Output) -> None:
    """Has every replica load a model; returns when all serve it."""
    request = pb.RepositoryModelLoadRequest(model_name=name)
    if config is not None:
        request.parameters["config"].string_param = _text(config)

    async def done(stub: "GRPCInferenceServiceAsyncStub", credential: str) -> None:
        await stub.RepositoryModelLoad(request, timeout=LOAD_S, metadata=bearer(credential))

    _do(state_dir, done)
    output.document({"model": name, "loaded": True})
    output.text(f"every replica serves {name}")


def unload(name: str, state_dir: Path, output: Output, *, dependents: bool) -> None:
    """Has every replica unload a model; returns when none serves it."""
    request = pb.RepositoryModelUnloadRequest(model_name=name)
    request.parameters["unload_dependents"].bool_param = dependents

    async def done(stub: "GRPCInferenceServiceAsyncStub", credential: str) -> None:
        await stub.RepositoryModelUnload(request, timeout=LOAD_S, metadata=bearer(credential))

    _do(state_dir, done)
    output.document({"model": name, "loaded": False})
    output.text(f"no replica serves {name}")


def _do(state_dir: Path, command: Callable[["GRPCInferenceServiceAsyncStub", str], Awaitable[None]]) -> None:
    state = state_of(state_dir)

    async def run() -> None:
        async with channel(listed(state).gateway_address) as opened:
            await command(GRPCInferenceServiceStub(opened), token(state.operator_token))

    asyncio.run(run())


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"can't read {file}", str(error), "name a file of JSON") from None


async def _found(gateway: str, credential: str) -> list[dict[str, object]]:
    async with channel(gateway) as opened:
        stub = GRPCInferenceServiceStub(opened)
        index = await stub.RepositoryIndex(
            pb.RepositoryIndexRequest(), timeout=DEADLINE_S, metadata=bearer(credential)
        )
        return [await _described(stub, credential, entry) for entry in index.models]


async def _described(
    stub: "GRPCInferenceServiceAsyncStub", credential: str, entry: pb.RepositoryIndexResponse.ModelIndex
) -> dict[str, object]:
    row: dict[str, object] = {
        "name": entry.name,
        "version": entry.version,
        "state": entry.state,
        "reason": entry.reason,
        "max_batch_size": 0,
        "inputs": [],
        "outputs": [],
    }
    if entry.state != "READY":
        return row
    metadata = await stub.ModelMetadata(
        pb.ModelMetadataRequest(name=entry.name, version=entry.version),
        timeout=DEADLINE_S,
        metadata=bearer(credential),
    )
    config = await stub.ModelConfig(
        pb.ModelConfigRequest(name=entry.name, version=entry.version),
        timeout=DEADLINE_S,
        metadata=bearer(credential),
    )
    return row | {
        "max_batch_size": config.config.max_batch_size,
        "inputs": _tensors(metadata.inputs),
        "outputs": _tensors(metadata.outputs),
    }


def _tensors(tensors: Iterable[pb.ModelMetadataResponse.TensorMetadata]) -> list[dict[str, object]]:
    return [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in tensors]


def _signature(tensors: object) -> str:
    assert isinstance(tensors, list)
    return ", ".join(f"{t['name']} {t['datatype']} {t['shape']}" for t in tensors) or "-"
