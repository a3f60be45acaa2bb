"""A replica's service with one model, and fakes of all that stands around it."""

import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from headrace.cache.client import AnswerKeys
from headrace.inference.answers import Answers, Inference
from headrace.inference.batcher import Batcher
from headrace.inference.batching import Timings
from headrace.inference.core.policy import BatchPolicy
from headrace.inference.decoder import Decoder
from headrace.inference.encoder import Encoder
from headrace.inference.load import LoadMeter
from headrace.inference.models import Model, Models
from headrace.inference.service import InferenceService
from headrace.inference.statistics import InferenceMetrics, Statistics
from headrace.inference.usage import Usage
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from headrace.inference.v2.model_config_pb2 import ModelConfig
from headrace.runtime.clock import SystemClock
from headrace.runtime.rpc import Call, Caller
from headrace.runtime.telemetry import quiet
from tests.fakes.inference import Doubling, TwoCores
from tests.fakes.neighbours import Doorkeeper, Recorder, Shelf

CLOCK = SystemClock()


@dataclass
class Replica:
    """A service with one model, and all that stands around it."""

    service: InferenceService
    backend: Doubling
    door: Doorkeeper
    usage: Recorder
    shelf: Shelf
    model: Model

    async def infer(
        self,
        number: float = 1.0,
        metadata: Mapping[str, str | bytes] | None = None,
        *,
        tenant: str = "acme",
        **parameters: int,
    ) -> tuple[list[float], dict[str, str]]:
        call = Call("/test", metadata or {}, Caller(tenant, frozenset()), CLOCK.monotonic())
        message = request(number)
        for name, value in parameters.items():
            message.parameters[name].int64_param = value
        data = await self.service.infer(message, call, encoded)
        answer = ModelInferResponse.FromString(data)
        return np.frombuffer(answer.raw_output_contents[0], np.float32).tolist(), dict(call.trailing)


def encoded(done: Inference) -> bytes:
    return done.encoded("q")


def request(number: float, columns: int = 2) -> ModelInferRequest:
    raw = np.full((1, columns), number, np.float32).tobytes()
    message = ModelInferRequest(model_name="doubling", raw_input_contents=[raw])
    message.inputs.add(name="x", datatype="FP32", shape=[1, columns])
    return message


@asynccontextmanager
async def replica(
    *,
    cacheable: bool = False,
    gate: threading.Event | None = None,
    door: Doorkeeper | None = None,
    usage: Recorder | None = None,
    digest: str = "digest",
    shelf: Shelf | None = None,
) -> AsyncIterator[Replica]:
    (telemetry, _), backend = quiet(), Doubling(gate=gate)
    door, usage, shelf = door or Doorkeeper(), usage or Recorder(price=5), shelf or Shelf()
    recorded = Usage(usage, CLOCK, "doubling", "1")
    model = Model(
        "doubling",
        "1",
        ModelConfig(),
        backend,
        Batcher(backend, BatchPolicy(max_batch_size=1), 1, CLOCK, recorded.executed, unpaid=recorded.unpaid),
        Decoder(backend.signature),
        Encoder(backend.signature, "1"),
        Statistics("doubling", "1", InferenceMetrics(telemetry.registry)),
        recorded,
        Timings("doubling", BatchPolicy()),
        digest,
        cacheable,
    )
    answers = Answers(shelf, AnswerKeys(b"s" * 32), 60.0)
    models = Models([model])
    load = LoadMeter(models, TwoCores(), CLOCK)
    service = InferenceService(models, answers, door, usage, load, telemetry.tracer, CLOCK, "inference-0")
    try:
        yield Replica(service, backend, door, usage, shelf, model)
    finally:
        await model.executor.close()
