"""Load that goes on while something breaks: every call is timed, every answer checked."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import grpc
import numpy as np

from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from tests.support.cached import CACHED, ask
from tests.support.mesh import Mesh
from tests.support.requests import Floats, Linear, distinct_rows, output
from tests.support.requests import linear as linear_request

THREADS = 3
REPEATED = 128
ROWS = 60_000


class Seen(NamedTuple):
    """One call: when it ended (monotonic), how long it took, its status, and where the answer came from."""

    at: float
    seconds: float
    code: str
    level: str


@dataclass
class Tally:
    """Every call so far, and every answer that was not the right one or somebody else's."""

    calls: list[Seen] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def errors(self) -> Counter[str]:
        """The calls that were not answered, by their status."""
        return Counter(call.code for call in self.calls if call.code != "OK")

    def levels(self, since: float, until: float = float("inf")) -> Counter[str]:
        """Where answers came from between two times; those of the model alone are counted at the level ""."""
        return Counter(call.level for call in self.calls if since <= call.at < until)

    def added_ms(self, share: int, since: float, until: float) -> float:
        """How much longer a miss took than the model alone, in milliseconds; `share` is the percentile.

        Both were asked in turns, so that what else the machine does meanwhile takes the same from both.
        """
        return self.took_ms("miss", share, since, until) - self.took_ms("", share, since, until)

    def took_ms(self, level: str, share: int, since: float, until: float) -> float:
        """A percentile of the calls that were answered from `level` between two times."""
        took = [call.seconds for call in self.calls if since <= call.at < until and call.level == level]
        assert len(took) >= 20, f"only {len(took)} calls at the level {level!r}"
        return float(np.percentile(took, share)) * 1000


class Steady:
    """Callers with a connection each, who ask in turns the model alone, the cache anew, and the cache once more."""

    def __init__(self, mesh: Mesh, linear: Linear, *, pause_s: float = 0.004) -> None:
        """`pause_s` is each caller's rest between two calls: what is timed is the mesh, not the machine's load."""
        self.tally = Tally()
        self._mesh = mesh
        self._rows = distinct_rows(ROWS, seed=8)
        self._right = linear(self._rows)
        self._fresh = count(REPEATED)
        self._pause_s = pause_s
        self._over = threading.Event()

    @contextmanager
    def blowing(self) -> Iterator[Tally]:
        """The load while the block runs; the tally grows meanwhile."""
        threads = [threading.Thread(target=self._caller, args=(random.Random(n),)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield self.tally
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _caller(self, draw: random.Random) -> None:
        with self._mesh.inference() as stub:
            while not self._over.wait(self._pause_s):
                self._call(stub, "linear", next(self._fresh) % ROWS)
                self._call(stub, CACHED, next(self._fresh) % ROWS)
                self._call(stub, CACHED, draw.randrange(REPEATED))

    def _call(self, stub: GRPCInferenceServiceStub, model: str, number: int) -> None:
        row, began = slice(number, number + 1), time.monotonic()
        code = level = ""
        try:
            request = linear_request(self._rows[row], str(number), model)
            answer = ask(stub, request, self._mesh.demo_token)
        except grpc.RpcError as error:
            code = error.code().name
        else:
            code, level = "OK", answer.level
            if answer.message.id != str(number) or not close(output(answer.message, "y"), self._right[row]):
                self.tally.wrong.append(f"{number} got {answer.message.id} from {level}")
        now = time.monotonic()
        self.tally.calls.append(Seen(now, now - began, code, level))


def close(found: Floats, right: Floats) -> bool:
    """Equal but for rounding: two programs worked it out."""
    return bool(np.allclose(found, right, rtol=1e-5, atol=1e-6))
