"""A replica in this process, on free ports, with the small demo models."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from headrace.inference.app import build
from headrace.inference.demo.catalogue import demo_models
from headrace.inference.demo.layout import lay_out
from headrace.inference.settings import InferenceSettings, ModelOverride, RepositorySettings
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from headrace.local.keys import KeyStore
from headrace.runtime.clock import SystemClock

if TYPE_CHECKING:
    from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceAsyncStub

Bearer = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Replica:
    """A replica and who may call it."""

    address: str
    stub: "GRPCInferenceServiceAsyncStub"
    channel: grpc.aio.Channel
    keys: KeyStore

    def bearer(self, *scopes: str) -> Bearer:
        """Metadata of a token with these scopes."""
        token = self.keys.issue("tenant-a", scopes or ("infer", "observe"), 3600)
        return (("authorization", f"Bearer {token.text}"),)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`linear`, and `broken`, whose file is no model."""
    folder = tmp_path_factory.mktemp("models")
    lay_out(folder, models=[model for model in demo_models() if model.name == "linear"])
    (folder / "broken" / "1").mkdir(parents=True)
    (folder / "broken" / "config.pbtxt").write_text(
        'backend: "onnxruntime" max_batch_size: 4 '
        'input { name: "x" data_type: TYPE_FP32 dims: 2 } output { name: "y" data_type: TYPE_FP32 dims: 2 }'
    )
    (folder / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    return folder


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Replica]:
    """A replica with these settings; `folder` holds its keys, which replicas may share."""
    keys = KeyStore(folder / "keys", clock=SystemClock())
    keys.issue("tenant-a", ("infer",), 60)
    whole = InferenceSettings(
        listen="127.0.0.1:0",
        jwks=keys.jwks_path,
        instances=1,
        drain_grace_s=5.0,
        **{"metrics_listen": "", **settings},
    )
    async with build(whole) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield Replica(server.address, GRPCInferenceServiceStub(channel), channel, keys)


@pytest.fixture
async def replica(repository: Path, tmp_path: Path) -> AsyncIterator[Replica]:
    """Serves until the test ends."""
    models = {"linear": ModelOverride(max_queue=50)}
    async with running(tmp_path, repository=RepositorySettings(repository), models=models) as found:
        yield found
