"""Row 30: what a replica says of itself is true, while a model hangs, its loop is blocked, a large message comes."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import grpc
import httpx
import numpy as np
import onnx
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from onnx import TensorProto, helper

from headrace.inference.app import build
from headrace.inference.settings import InferenceSettings, RepositorySettings
from headrace.inference.v2.grpc_service_pb2 import (
    ModelReadyRequest,
    ServerReadyRequest,
)
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from headrace.local.keys import KeyStore
from headrace.runtime.clock import SystemClock
from tests.support.models import SLOW, write_models
from tests.support.requests import request_of, slow
from tests.support.waiting import eventually

LIVE, SERVICE = "", "inference.GRPCInferenceService"
FLIPS_WITHIN_S = 2.0
LIVE_WITHIN_S = 1.0
HANGS = 20_000
"""Steps of `slow`: eight seconds on a quiet core, far longer than the bound of a run."""
WIDE, COLUMNS = "wide", 4_000_000
LIMIT = 64 * 1024 * 1024


class Served:
    """A replica on a loop of its own in a thread, so that its loop may be blocked while the test goes on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: str, hot: Path, keys: KeyStore) -> None:
        self.loop = loop
        self.address = address
        self.hot = hot
        token = keys.issue("tenant-a", ("infer", "observe"), 3600).text
        self.metadata = (("authorization", f"Bearer {token}"),)

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", LIMIT)]
        with grpc.insecure_channel(self.address, options) as channel:
            yield channel

    def health(self, service: str) -> bool | None:
        """What a probe hears: None for nothing within its second."""
        with self.channel() as channel:
            try:
                answer = HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=LIVE_WITHIN_S)
            except grpc.RpcError:
                return None
            return bool(answer.status == HealthCheckResponse.SERVING)

    def healthz(self) -> int:
        """What Envoy hears on the hot socket: the status, 0 for nothing."""
        transport = httpx.HTTPTransport(uds=str(self.hot))
        with httpx.Client(transport=transport, base_url="http://inference", timeout=LIVE_WITHIN_S) as client:
            try:
                return client.get("/healthz").status_code
            except httpx.TimeoutException:
                return 0

    def ready(self, stub: GRPCInferenceServiceStub, model: str) -> tuple[bool, bool]:
        """What ServerReady and ModelReady say."""
        server = stub.ServerReady(ServerReadyRequest(), timeout=10, metadata=self.metadata)
        one = stub.ModelReady(ModelReadyRequest(name=model), timeout=10, metadata=self.metadata)
        return server.ready, one.ready


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serves `slow`, which takes as long as it is told, and `wide`, which takes 64 MB a request."""
    folder = tmp_path_factory.mktemp("health")
    (folder / "models").mkdir()
    write_models(folder / "models", None)
    write_wide(folder / "models" / WIDE)
    keys = KeyStore(folder / "keys", clock=SystemClock())
    keys.issue("tenant-a", ("infer",), 60)
    settings = InferenceSettings(
        listen="127.0.0.1:0",
        metrics_listen="",
        hot_socket=folder / "hot.sock",
        repository=RepositorySettings(folder / "models"),
        jwks=keys.jwks_path,
        instances=1,
        drain_grace_s=0.1,
    )
    told: Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event, str]] = Queue()

    async def serve() -> None:
        async with build(settings) as server:
            over = asyncio.Event()
            told.put((asyncio.get_running_loop(), over, server.address))
            await over.wait()

    with ThreadPoolExecutor(1) as thread:
        serving = thread.submit(asyncio.run, serve())
        loop, over, address = told.get(timeout=60)
        yield Served(loop, address, settings.hot_socket or folder, keys)
        loop.call_soon_threadsafe(over.set)
        serving.result(timeout=60)


def write_wide(folder: Path) -> None:
    """A model whose row is 16 MB, and whose answer is the row's sum."""
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(
        f'backend: "onnxruntime" max_batch_size: 4 input {{ name: "x" data_type: TYPE_FP32 dims: {COLUMNS} }} '
        'output { name: "y" data_type: TYPE_FP32 dims: 1 }'
    )
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)],
        WIDE,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", COLUMNS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
        initializer=[axes],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "1" / "model.onnx")


def test_a_hanging_model_flips_readiness(served: Served) -> None:
    """Model, server, service and the hot ingress say no within 2 s, the process stays live; then all say yes again."""
    assert (served.health(LIVE), served.health(SERVICE), served.healthz()) == (True, True, 200)
    with served.channel() as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert served.ready(stub, SLOW) == (True, True)
        hanging = stub.ModelInfer.future(slow(HANGS), timeout=120, metadata=served.metadata)
        eventually(lambda: served.health(SERVICE) is False, "the service is not ready", FLIPS_WITHIN_S + 1)
        assert (served.health(LIVE), served.healthz()) == (True, 503)
        assert served.ready(stub, SLOW) == (False, False)
        assert served.ready(stub, WIDE) == (False, True)
        assert not hanging.done()
        hanging.result()
        eventually(lambda: served.health(SERVICE), "the service is ready again", FLIPS_WITHIN_S)
        assert served.healthz() == 200
        assert served.ready(stub, SLOW) == (True, True)


def test_a_blocked_loop_says_nothing_until_it_goes_on(served: Served) -> None:
    """No probe hears a yes while the loop is blocked, by either way; afterwards each does."""
    blocked, release = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        release.wait(30)

    served.loop.call_soon_threadsafe(block)
    try:
        assert blocked.wait(10)
        assert [served.health(LIVE), served.health(SERVICE)] == [None, None]
        assert served.healthz() == 0
    finally:
        release.set()
    eventually(lambda: served.health(LIVE) and served.health(SERVICE), "the loop goes on", 10)
    assert served.healthz() == 200


def test_liveness_answers_while_a_large_message_is_handled(served: Served) -> None:
    """Within a second each time, from before a message of 64 MB is sent until it has been answered."""
    message = request_of(WIDE, {"x": ("FP32", np.ones((4, COLUMNS), np.float32))})
    assert LIMIT - 2**22 < message.ByteSize() < LIMIT
    with served.channel() as channel:
        stub = GRPCInferenceServiceStub(channel)
        handled = stub.ModelInfer.future(message, timeout=120, metadata=served.metadata)
        heard = [served.health(LIVE)]
        while not handled.done():
            heard.append(served.health(LIVE))
        answer = handled.result()
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [COLUMNS] * 4
    assert set(heard) == {True}
