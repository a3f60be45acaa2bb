"""A crowd of callers of `mixed`: every size, length, tenant, priority and temper, a bounded number of them at once.

What a caller asks follows from its number alone. Each call is judged as it ends: by what the
caller may be told, and against the sum that it worked out itself.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

import grpc
import numpy as np
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, bearer
from tests.support.mixed import LEVELS, LONGEST, MAX_ROWS, Rows
from tests.support.requests import output

TENANTS = "abcdefghijkl"
AT_ONCE = 256
CONNECTIONS = 4
DEADLINES_S = (0.003, 0.01, 0.05, 0.2, 1.0)
REFUSALS = ("DEADLINE_INFEASIBLE", "QUEUE_FULL")

Calls = Sequence[tuple[GRPCInferenceServiceStub, tuple[tuple[str, str], ...]]]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asks, and for how long it waits: seconds until it leaves, None for one that does not."""

    number: int
    tenant: str
    rows: Rows
    priority: int
    start_within_us: int
    deadline_s: float
    leaves_after_s: float | None

    @property
    def key(self) -> str:
        """Its idempotency key, by which the ledger knows it."""
        return f"crowd-{self.number}"

    @property
    def may_be_late(self) -> bool:
        """Who is delayed waits behind all others of its level, however long they go on coming."""
        return self.deadline_s < CALL_TIMEOUT_S or self.start_within_us > 0 or self.priority == LEVELS


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended for its caller: `how` in one word, and when it stopped waiting without an answer (1970, ns)."""

    how: str
    left_ns: int = 0


@dataclass
class Crowd:
    """Every caller's one ending, and whatever should not have been told."""

    endings: dict[int, Ending] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    async def ask(self, mesh: Mesh, count: int) -> None:
        """`count` calls, `AT_ONCE` of them at any time, over `CONNECTIONS` connections."""
        tokens = {tenant: bearer(mesh.token(tenant, "infer")) for tenant in TENANTS}
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as callers:
            channels = [grpc.aio.insecure_channel(mesh.gateway, options) for _ in range(CONNECTIONS)]
            stubs = [
                GRPCInferenceServiceStub(await stack.enter_async_context(channel)) for channel in channels
            ]
            numbers = iter(range(count))
            for place in range(AT_ONCE):
                callers.create_task(self._caller(stubs[place % CONNECTIONS], tokens, numbers))

    async def _caller(
        self, stub: GRPCInferenceServiceStub, tokens: dict[str, Any], numbers: Iterator[int]
    ) -> None:
        for number in numbers:
            wish = wish_of(number)
            ending = await self._call(stub, tokens[wish.tenant], wish)
            if number in self.endings:
                self.wrong.append(f"{number} ended twice")
            self.endings[number] = ending

    async def _call(self, stub: GRPCInferenceServiceStub, token: Any, wish: Wish) -> Ending:
        request = wish.rows.request(str(wish.number))
        if wish.priority:
            request.parameters["priority"].uint64_param = wish.priority
        if wish.start_within_us:
            request.parameters["timeout"].int64_param = wish.start_within_us
        began_ns = time.time_ns()
        metadata = (*token, ("idempotency-key", wish.key))
        call = cast("Any", stub.ModelInfer(request, timeout=wish.deadline_s, metadata=metadata))
        left: list[int] = []
        if wish.leaves_after_s is not None:
            asyncio.get_running_loop().call_later(wish.leaves_after_s, _leave, call, left)
        code = await call.code()
        how = await self._judged(code, call, wish, left=bool(left))
        if how == "late":
            return Ending(how, began_ns + round(wish.deadline_s * 1e9))
        return Ending(how, left[0] if how == "left" else 0)

    async def _judged(self, code: grpc.StatusCode, call: Any, wish: Wish, *, left: bool) -> str:
        """The ending's name; notes what this caller should not have been told."""
        match code:
            case grpc.StatusCode.OK:
                answer = await call
                total = output(answer, "total")
                if wish.rows.poisoned or answer.id != str(wish.number) or _differs(total, wish.rows.total):
                    self.wrong.append(f"{wish.number} got {answer.id}: {total.ravel()}")
                return "answered"
            case grpc.StatusCode.INTERNAL if wish.rows.poisoned:
                return "failed"
            case grpc.StatusCode.CANCELLED if left:
                return "left"
            case grpc.StatusCode.DEADLINE_EXCEEDED if wish.may_be_late:
                # Only the replica says where it passed: there it was never executed.
                return "expired" if "in the queue" in (await call.details()) else "late"
            case grpc.StatusCode.UNAVAILABLE:
                reason, retry = _details(await call.trailing_metadata())
                if reason in REFUSALS and retry:
                    return reason
        self.wrong.append(f"{wish.number} was told {code.name}: {await call.details()}")
        return code.name


def wish_of(number: int) -> Wish:
    """Always the same for a number."""
    random = Random(number)
    count = random.choice((1, 1, 1, 2, 4, MAX_ROWS))
    length = min(LONGEST, int(4 * random.paretovariate(0.9)))
    draw = np.random.default_rng(number)
    rows = Rows(
        draw.integers(1, 2**40, (count, length)),
        (draw.random((count, length)) < 0.9).astype(np.int64),
        random.random() < 0.01,
    )
    impatient = random.random() < 0.4
    return Wish(
        number,
        random.choice(TENANTS[:3] * 4 + TENANTS),
        rows,
        random.randrange(4),
        random.choice((2_000, 50_000, 500_000)) if random.random() < 0.1 else 0,
        random.choice(DEADLINES_S) if impatient else CALL_TIMEOUT_S,
        random.expovariate(5) if random.random() < 0.15 else None,
    )


def _leave(call: Any, left: list[int]) -> None:
    now = time.time_ns()
    if call.cancel():
        left.append(now)


def _differs(found: np.ndarray, right: np.ndarray) -> bool:
    return found.shape != right.shape or bool((found != right).any())


def _details(metadata: Any) -> tuple[str, bool]:
    """A refusal's reason, and whether it tells when to come again."""
    packed = dict(metadata or ()).get("grpc-status-details-bin", b"")
    info, retry = ErrorInfo(), RetryInfo()
    details = Status.FromString(packed).details
    named = any(detail.Unpack(info) for detail in details)
    return info.reason if named else "", any(detail.Unpack(retry) for detail in details)
