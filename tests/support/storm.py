"""Callers of every temper, at once and for a while, each of them checking its own answers."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import numpy as np

from headrace.inference.v2.grpc_service_pb2 import ModelInferResponse
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, bearer
from tests.support.requests import Linear, distinct_rows, output, slow
from tests.support.requests import linear as linear_request

ROWS = 512
CALLERS = 24


@dataclass
class Tally:
    """What the callers saw: how often each ending, and every answer that was somebody else's."""

    endings: Counter[str] = field(default_factory=Counter)
    mixed_up: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ended(self, how: str) -> None:
        with self.lock:
            self.endings[how] += 1


class Storm:
    """`CALLERS` threads on three connections, which infer, cancel, expire and err at random."""

    def __init__(self, mesh: Mesh, linear: Linear) -> None:
        self._mesh = mesh
        self._rows = distinct_rows(ROWS, seed=36)
        self._expected = linear(self._rows)
        self._metadata = bearer(mesh.demo_token)

    def blow(self, seconds: float, seed: int = 36) -> Tally:
        tally = Tally()
        end = time.monotonic() + seconds
        with (
            self._mesh.inference() as one,
            self._mesh.inference() as two,
            self._mesh.inference() as three,
            ThreadPoolExecutor(CALLERS) as threads,
        ):
            stubs = (one, two, three)
            jobs = [
                threads.submit(self._caller, stubs[number % 3], random.Random(seed + number), end, tally)
                for number in range(CALLERS)
            ]
            for job in jobs:
                job.result()
        return tally

    def _caller(self, stub: GRPCInferenceServiceStub, rng: random.Random, end: float, tally: Tally) -> None:
        turns = (self._honest, self._honest, self._honest, self._cancelled, self._expired, self._poisoned)
        while time.monotonic() < end:
            rng.choice(turns)(stub, rng, tally)

    def _honest(self, stub: GRPCInferenceServiceStub, rng: random.Random, tally: Tally) -> None:
        first = rng.randrange(ROWS - 8)
        rows = slice(first, first + rng.randint(1, 8))
        name = f"{first}-{rng.getrandbits(64)}"
        answer = stub.ModelInfer(
            linear_request(self._rows[rows], name), timeout=CALL_TIMEOUT_S, metadata=self._metadata
        )
        found = output(answer, "y")
        if answer.id != name or not np.allclose(found, self._expected[rows], rtol=1e-5, atol=1e-6):
            tally.mixed_up.append(f"{name} got {answer.id}")
        tally.ended("answered")

    def _cancelled(self, stub: GRPCInferenceServiceStub, rng: random.Random, tally: Tally) -> None:
        request = slow(rng.randrange(1, 30), 1.0)
        call = stub.ModelInfer.future(request, timeout=CALL_TIMEOUT_S, metadata=self._metadata)
        time.sleep(rng.random() * 0.01)
        call.cancel()
        tally.ended("cancelled")

    def _expired(self, stub: GRPCInferenceServiceStub, rng: random.Random, tally: Tally) -> None:
        timeout = rng.random() * 0.01 + 0.0005
        call = stub.ModelInfer.future(
            slow(rng.randrange(1, 30), 2.0), timeout=timeout, metadata=self._metadata
        )
        code = call.code()
        if code is grpc.StatusCode.UNAVAILABLE:  # refused at once, because it can't be in time
            assert "too long for this deadline" in call.details(), call
            tally.ended(code.name)
            return
        tally.ended(_expect(call, grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED))

    def _poisoned(self, stub: GRPCInferenceServiceStub, rng: random.Random, tally: Tally) -> None:
        request = slow(1, poison=True) if rng.random() < 0.5 else linear_request(self._rows[:1], model="none")
        call = stub.ModelInfer.future(request, timeout=CALL_TIMEOUT_S, metadata=self._metadata)
        tally.ended(_expect(call, grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND))


def _expect(call: "grpc.CallFuture[ModelInferResponse]", *codes: grpc.StatusCode) -> str:
    code = call.code()
    assert code in codes, (code, call)
    return code.name
