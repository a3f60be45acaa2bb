"""What a replica tells metering: one event for each request that used something.

A request that was refused, or left before its batch was cut, used nothing and
has none. Who pays for the others is metering's to say (its README does).
"""

import hashlib
from collections import OrderedDict

import structlog

from headrace.inference import errors
from headrace.inference.batcher import Batch
from headrace.inference.execution import Work
from headrace.metering.client import Cost, Unmetered, UsageEvent, UsageKind, UsageLog
from headrace.runtime.clock import Clock
from headrace.runtime.rpc import Call

log = structlog.get_logger(__name__)

IDEMPOTENCY_KEY, REQUEST_ID = "idempotency-key", "x-request-id"
MAX_KEY_BYTES = 255
MAX_KEYS_REMEMBERED = 10_000
"""Clients' keys that a replica remembers what they stood for; metering knows the others."""

CODES = {UsageKind.CANCELLED: 1, UsageKind.FAILED: 13}
"""gRPC's numbers of how requests without an answer ended."""


class Usage:
    """The usage of one model version's requests."""

    def __init__(self, log: UsageLog | Unmetered, clock: Clock, model: str, version: str) -> None:
        self._log = log
        self._clock = clock
        self._model = model
        self._version = version
        self._bound: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()

    def bind(self, call: Call, work: Work) -> None:
        """Holds a client's idempotency key to the request that it came with first.

        Raises IDEMPOTENCY_KEY_INVALID for a key that is no key, or that stood
        for another request of this tenant.
        """
        if IDEMPOTENCY_KEY not in call.metadata:
            return
        key, digest = self._billing(call, work)
        if not 1 < len(key) <= 1 + MAX_KEY_BYTES:
            raise errors.idempotency_key_invalid(f"expected 1 to {MAX_KEY_BYTES} bytes, got {len(key) - 1}")
        place = call.caller.tenant, key
        if self._bound.setdefault(place, digest) != digest:
            raise errors.idempotency_key_invalid("it came before, with another request")
        self._bound.move_to_end(place)
        if len(self._bound) > MAX_KEYS_REMEMBERED:
            self._bound.popitem(last=False)

    def answered(
        self,
        call: Call,
        work: Work,
        kind: UsageKind,
        *,
        cpu_ns: int,
        response_bytes: int,
        stored_bytes: int,
        stored_ms: int,
    ) -> Cost | None:
        """Records a request whose answer is about to leave; what it costs, if prices are known.

        Uses the space that `UsageLog.reserve` set aside.
        """
        event = self._event(call, work, kind, cpu_ns)
        event.response_bytes = response_bytes
        event.stored_bytes = stored_bytes
        event.stored_ms = stored_ms
        return self._log.record(event)

    def executed(self, batch: Batch) -> None:
        """Records the requests of a batch that get no answer: they failed, or nobody waits any more.

        A step's is told to the request that it is part of, which is charged for all of them together.
        """
        for ticket, answer, cpu_ns in zip(batch.tickets, batch.executed.answers, batch.shares, strict=True):
            left = ticket.waiter.cancelled()
            if answer is not None and not left:
                continue
            if ticket.work.part is not None:
                ticket.work.part.spent(cpu_ns)
                continue
            kind = UsageKind.CANCELLED if left else UsageKind.FAILED
            self.unanswered(ticket.call, ticket.work, kind, cpu_ns)

    def unpaid(self, call: Call, work: Work, cpu_ns: int) -> None:
        """Records a request whose caller left between its batch's end and its answer."""
        self.unanswered(call, work, UsageKind.CANCELLED, cpu_ns)

    def unanswered(self, call: Call, work: Work, kind: UsageKind, cpu_ns: int) -> None:
        """Records work without an answer. Its room was given back when its caller left, so it takes spare room."""
        if self._log.reserve(spare=True):
            self._log.record(self._event(call, work, kind, cpu_ns))
        else:
            log.error("work not recorded: the outbox is full", model=self._model, cpu_ns=cpu_ns)

    def _event(self, call: Call, work: Work, kind: UsageKind, cpu_ns: int) -> UsageEvent:
        key, digest = self._billing(call, work)
        return UsageEvent(  # by place, in the order of its fields: half the time that names take
            call.caller.tenant,
            self._model,
            self._version,
            key,
            digest,
            kind,
            CODES.get(kind, 0),
            work.rows,
            cpu_ns,
            0,  # gpu_ns
            call.request_bytes,
            0,  # response_bytes
            0,  # stored_bytes
            self._clock.time_ns() // 1_000_000,
        )

    def _billing(self, call: Call, work: Work) -> tuple[bytes, bytes]:
        """The billing key, and for a client's own key the digest of what it stands for.

        A client's key and the edge's request id never meet: their first byte differs.
        """
        key = call.metadata.get(IDEMPOTENCY_KEY)
        if isinstance(key, str):
            return b"c" + key.encode(), self._digest(work)
        request_id = call.metadata.get(REQUEST_ID)
        return (b"e" + request_id.encode(), b"") if isinstance(request_id, str) else (b"", b"")

    def _digest(self, work: Work) -> bytes:
        digest = hashlib.blake2b(f"{self._model}/{self._version}".encode(), digest_size=16)
        for shape, value in zip(work.shapes, work.values, strict=True):
            digest.update(repr(shape).encode())
            for element in value if isinstance(value, list) else (value,):
                digest.update(len(element).to_bytes(8, "little"))
                digest.update(element)
        return digest.digest()
