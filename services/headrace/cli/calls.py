"""Calls of the demo model `linear` in the background, counted by how they ended."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

import grpc

from headrace.cli.errors import CliError
from headrace.cli.mesh import listed, token
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from headrace.local.statedir import StateDir
from headrace.runtime.channels import bearer

MODEL = "linear"
DEADLINE_S = 30.0
CALLERS = 4
_AGAIN_MS = 100


@dataclass(slots=True)
class Counted:
    """Calls that have ended, and those of them that failed, by their code."""

    sent: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ended(self, code: str) -> None:
        """One more."""
        with self.lock:
            self.sent += 1
            if code != "OK":
                self.failed[code] += 1


class Calls:
    """Callers with a connection each, together `per_s` calls a second while nobody is slow."""

    def __init__(self, target: str, metadata: tuple[tuple[str, str], ...], per_s: int) -> None:
        self.counted = Counted()
        self._target = target
        self._metadata = metadata
        self._pause_s = CALLERS / per_s if per_s else 0.0
        self._over = threading.Event()

    @classmethod
    @contextmanager
    def during(cls, state: StateDir, per_s: int, around_s: float) -> Iterator[Self]:
        """While the block runs, and `around_s` before and after; raises CliError when not even the first is answered."""
        calls = cls(listed(state).gateway_address, bearer(token(state.demo_token)), per_s)
        if not per_s:
            yield calls
            return
        calls._first()
        threads = [threading.Thread(target=calls._call) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(around_s)
            yield calls
            time.sleep(around_s)
        finally:
            calls._over.set()
            for thread in threads:
                thread.join()

    def _first(self) -> None:
        with _channel(self._target) as channel:
            if (code := self._ask(GRPCInferenceServiceStub(channel))) != "OK":
                raise CliError(
                    f"{MODEL} does not answer ({code})",
                    "its calls are the load",
                    "leave out --load, or see `headrace models`",
                )

    def _call(self) -> None:
        with _channel(self._target) as channel:
            stub = GRPCInferenceServiceStub(channel)
            while not self._over.wait(self._pause_s):
                self.counted.ended(self._ask(stub))

    def _ask(self, stub: GRPCInferenceServiceStub) -> str:
        try:
            stub.ModelInfer(_request(), timeout=DEADLINE_S, metadata=self._metadata)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code.name
        return "OK"


def _request() -> ModelInferRequest:
    request = ModelInferRequest(model_name=MODEL, raw_input_contents=[bytes(64)])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 16])
    return request


def _channel(target: str) -> grpc.Channel:
    """A connection of its own, tried again soon after it is lost; no call is sent twice."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    options += [(f"grpc.{which}_reconnect_backoff_ms", _AGAIN_MS) for which in ("initial", "min", "max")]
    return grpc.insecure_channel(target, options)
