"""What happened in a run, as it happened: an append-only file of JSON lines.

Callers write down a request before they send it, and its ending when they have
it; faults are written down before they begin and after they are over. `at` is
in seconds since the run began, by one monotonic clock.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import msgspec


class Invoked(msgspec.Struct, frozen=True, tag="invoked"):
    """A request is about to be sent. `call` is its number in the run, `key` its idempotency key, empty for none.

    `right` is what has to be answered, worked out beside the mesh.
    """

    at: float
    call: int
    tenant: str
    model: str
    way: str
    key: str
    right: list[float]


class Acknowledged(msgspec.Struct, frozen=True, tag="acknowledged"):
    """The request was answered. `echoed` is the request's own identifier, as the answer has it.

    `cost` is in nano-units, None where the caller was told none. `request_id`
    is the edge's, `level` the cache's that had the answer, `replica` whose it was.
    """

    at: float
    call: int
    answer: list[float]
    echoed: str
    cost: int | None
    request_id: str
    level: str
    replica: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The request has no answer. `code` is gRPC's name; `request_id` is empty where nobody said one."""

    at: float
    call: int
    code: str
    why: str
    request_id: str


class FaultBegun(msgspec.Struct, frozen=True, tag="fault begun"):
    """Something is about to be broken. `fault` is its number in the run, `victims` are processes."""

    at: float
    fault: int
    kind: str
    victims: list[str]


class FaultEnded(msgspec.Struct, frozen=True, tag="fault ended"):
    """Everything is whole again."""

    at: float
    fault: int


Happening = Invoked | Acknowledged | Refused | FaultBegun | FaultEnded


class History:
    """The file under way. Any thread may write; a line is whole or not there."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self.answered = 0
        self.refused = 0
        self._faults = 0
        self._began = now()
        self._now = now
        self._lock = threading.Lock()
        self._encode = msgspec.json.Encoder().encode
        self._file = path.open("xb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return self._now() - self._began

    def write(self, happening: Happening) -> None:
        """Appends it."""
        line = self._encode(happening) + b"\n"
        with self._lock:
            self._file.write(line)
            self.answered += isinstance(happening, Acknowledged)
            self.refused += isinstance(happening, Refused)

    @contextmanager
    def fault(self, kind: str, victims: Sequence[str]) -> Iterator[None]:
        """Writes down a fault that the block does and mends. One thread's matter."""
        self._faults += 1
        number = self._faults
        self.write(FaultBegun(self.now, number, kind, list(victims)))
        yield
        self.write(FaultEnded(self.now, number))


def read(path: Path) -> Iterator[Happening]:
    """Every line of the file; raises msgspec.MsgspecError for one that is none."""
    decoder = msgspec.json.Decoder(Happening)
    with path.open("rb") as lines:
        for line in lines:
            yield decoder.decode(line)
