"""An ensemble of two models that double, over real queues and threads, and what it tells."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from headrace.inference.batch import Batch, Outcome
from headrace.inference.batcher import Batcher
from headrace.inference.batching import Timings
from headrace.inference.core.graph import Graph, Step
from headrace.inference.core.policy import BatchPolicy
from headrace.inference.core.tensors import Signature, TensorSpec
from headrace.inference.ensemble import Around, Ensemble
from headrace.inference.execution import Work
from headrace.inference.member import Member
from headrace.inference.passage import Passage
from headrace.inference.usage import Usage
from headrace.runtime.clock import SystemClock
from headrace.runtime.rpc import Call, Caller
from headrace.runtime.telemetry import quiet
from tests.fakes.inference import Doubling
from tests.fakes.neighbours import Recorder

CLOCK = SystemClock()
CHAIN = (Step("one", "", {"x": "x"}, {"y": "t"}), Step("two", "", {"x": "t"}, {"y": "y"}))
FORK = (Step("one", "", {"x": "x"}, {"y": "l"}), Step("two", "", {"x": "x"}, {"y": "r"}))


@dataclass
class Stand:
    """An ensemble of two models that double, and what it tells."""

    ensemble: Ensemble
    members: list[Member]
    backends: list[Doubling]
    usage: Recorder = field(default_factory=Recorder)
    passed: list[Passage] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    async def ask(self, number: float = 1.0, *, priority: int = 0, deadline: float | None = None) -> Outcome:
        raw = np.full((1, 2), number, np.float32).tobytes()
        call = Call("/test", {}, Caller("acme", frozenset()), CLOCK.monotonic())
        return await self.ensemble.submit(Work(1, [(1, 2)], [raw], level=priority), call, deadline)

    async def answers(self, number: float = 1.0) -> list[float]:
        outcome = await self.ask(number)
        return [float(np.frombuffer(value, np.float32)[0]) for value in outcome.answer.values]


def _graph(steps: tuple[Step, ...]) -> Graph:
    outputs = ("y",) if steps is CHAIN else ("l", "r")
    given = tuple(TensorSpec(name, "FP32", (2,)) for name in outputs)
    return Graph(Signature("whole", (TensorSpec("x", "FP32", (2,)),), given, 4), steps)


@asynccontextmanager
async def stand(
    steps: tuple[Step, ...] = CHAIN,
    *,
    gates: tuple[threading.Event | None, threading.Event | None] = (None, None),
    policy: BatchPolicy | None = None,
    most: int = 100,
    step_most: int = 0,
) -> AsyncIterator[Stand]:
    telemetry, _ = quiet()
    usage, passed, batches = Recorder(), list[Passage](), list[Batch]()
    policy = policy or BatchPolicy(max_batch_size=4)
    backends = [Doubling(gate=gate) for gate in gates]
    own = Usage(usage, CLOCK, "member", "1")

    def observe(batch: Batch) -> None:
        batches.append(batch)
        own.executed(batch)

    graph = _graph(steps)
    given = {tensor for step in steps for tensor in step.outputs.values()}
    members = [
        Member(
            step.model,
            backend,
            Batcher(backend, policy, 1, CLOCK, observe),
            Timings(step.model, policy),
            None,
            ((backend.signature.inputs[0], step.inputs["x"], step.inputs["x"] in given),),
            ((0, step.outputs["y"]),),
        )
        for step, backend in zip(steps, backends, strict=True)
    ]
    whole = Usage(usage, CLOCK, "whole", "1")
    around = Around(CLOCK, telemetry.tracer, whole.unanswered, passed.append)
    ensemble = Ensemble(graph, members, around, most=most, step_most=step_most)
    try:
        yield Stand(ensemble, members, backends, usage, passed, batches)
    finally:
        for gate in gates:
            if gate is not None:
                gate.set()
        for member in members:
            await member.executor.close()


async def executing(backend: Doubling) -> None:
    """Returns when the model runs."""
    await asyncio.to_thread(backend.started.acquire, timeout=10)
