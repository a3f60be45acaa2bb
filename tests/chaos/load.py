"""Callers who write down what they send and what they are told, for as long as something is broken."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from tests.chaos.callers import Ask, Ending, Send, Sending, by_grpc, by_rest
from tests.chaos.history import History, Invoked, Refused
from tests.support.mesh import Mesh
from tests.support.metered import Tenant
from tests.support.requests import Floats, Linear, distinct_rows
from tests.support.waiting import eventually

ROWS = 20_000
REPEATED = 32
"""Rows that `linear-cached` is asked for: few, so that every level of the cache answers."""

RETRIES, RETRY_S = 3, 0.2
"""How often a refused request is sent again under its idempotency key: as often as that is free."""

WAYS = {"grpc": by_grpc, "rest": by_rest}


@dataclass(frozen=True, slots=True)
class Profile:
    """How much is asked. Each caller of `grpc` has `window` calls in flight, one of `rest` has one.

    They rest for `pause_s` between. `patient` callers wait for a gateway that is away.
    """

    grpc: int = 4
    rest: int = 2
    window: int = 4
    pause_s: float = 0.02
    patient: bool = False


CROWD = Profile(grpc=8, rest=0, window=16, pause_s=0.0)
"""128 calls in flight at any time."""


class Asks:
    """Requests without end: `linear` with rows that do not come again, `linear-cached` with a few, now and then `slow`."""

    def __init__(self, right: Linear, seed: int) -> None:
        self._rows: Floats = distinct_rows(ROWS, seed)
        self._right: Floats = right(self._rows)

    def of(self, number: int, way: str) -> Ask:
        """Request `number` of the run. REST asks for no `slow`: its callers are there for the bridge."""
        turn = number % 8
        if turn == 0 and way == "grpc":
            row = float(number % 4096)
            return Ask("slow", [row], [row], steps=1 + number // 8 % 3)
        cached = turn in (1, 5)
        place = number % (REPEATED if cached else ROWS)
        model = "linear-cached" if cached else "linear"
        return Ask(model, self._rows[place].tolist(), self._right[place].tolist())


class Load:
    """The callers. `tenants` take turns; the last of them sends idempotency keys, and refused requests again."""

    def __init__(self, mesh: Mesh, history: History, asks: Asks, tenants: Sequence[Tenant]) -> None:
        self._mesh = mesh
        self._history = history
        self._asks = asks
        self._tenants = tenants
        self._numbers = itertools.count()
        self._over = threading.Event()

    @contextmanager
    def on(self, profile: Profile) -> Iterator[None]:
        """The load while the block runs; every call has ended behind it."""
        self._over.clear()
        ways = ["grpc"] * profile.grpc + ["rest"] * profile.rest
        threads = [
            threading.Thread(target=self._call, args=(number, way, profile))
            for number, way in enumerate(ways)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def moved(self, mesh: Mesh) -> None:
        """From the next block on another mesh is asked, of the same keys and models."""
        self._mesh = mesh

    def answers(self, count: int, within_s: float = 60.0) -> None:
        """Waits for so many answers from now on."""
        wanted = self._history.answered + count
        eventually(lambda: self._history.answered >= wanted, f"{count} more answers", within_s)

    def refusals(self, count: int, within_s: float = 60.0) -> None:
        """Waits for so many refusals from now on."""
        wanted = self._history.refused + count
        eventually(lambda: self._history.refused >= wanted, f"{count} more refusals", within_s)

    def _call(self, caller: int, way: str, profile: Profile) -> None:
        window = profile.window if way == "grpc" else 1
        with WAYS[way](self._mesh, self._history, patient=profile.patient) as send:
            while not self._over.wait(profile.pause_s):
                sendings = [self._next(caller, way) for _ in range(window)]
                endings = [send(sending) for sending in sendings]
                for sending, ending in zip(sendings, endings, strict=True):
                    self._ended(send, sending, ending())

    def _next(self, caller: int, way: str) -> Sending:
        number = next(self._numbers)
        place = caller % len(self._tenants)
        key = f"key-{number}" if place == len(self._tenants) - 1 else ""
        ask = self._asks.of(number, way)
        tenant = self._tenants[place]
        call = Invoked(self._history.now, number, tenant.name, ask.model, way, key, ask.right)
        self._history.write(call)
        return Sending(call, ask, tenant)

    def _ended(self, send: Send, sending: Sending, ending: Ending) -> None:
        """Writes it down; sends a refused request again where a key makes that safe."""
        self._history.write(ending)
        for _ in range(RETRIES if sending.call.key else 0):
            if not isinstance(ending, Refused) or self._over.wait(RETRY_S):
                return
            call = msgspec.structs.replace(sending.call, at=self._history.now, call=next(self._numbers))
            self._history.write(call)
            ending = send(sending._replace(call=call))()
            self._history.write(ending)
