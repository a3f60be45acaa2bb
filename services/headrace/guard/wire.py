"""The lease stream's frames as protobuf messages, and back."""

from google.protobuf.duration_pb2 import Duration

from headrace.guard.core.breaker import State
from headrace.guard.core.frames import (
    Grant,
    GuardFrame,
    Hello,
    HolderFrame,
    KnownBreaker,
    Outcome,
    Outstanding,
    Revoke,
    Settle,
    Snapshot,
    Want,
)
from headrace.guard.core.limits import BreakerRule, Code, LimitBook, Limits, Mode
from headrace.guard.v1 import guard_service_pb2, lease_pb2, limit_pb2

_MODES: dict[Mode | None, lease_pb2.LeaseMode.ValueType] = {
    Mode.LEASED: lease_pb2.LEASE_MODE_LEASED,
    Mode.SYNC: lease_pb2.LEASE_MODE_SYNC,
    None: lease_pb2.LEASE_MODE_DENY,
}
_MODE_OF = {number: mode for mode, number in _MODES.items()}


def holder_message(frame: HolderFrame) -> guard_service_pb2.LeaseRequest:
    """A holder's frame on the wire."""
    return guard_service_pb2.LeaseRequest(
        hello=None if frame.hello is None else _hello_message(frame.hello),
        wants=[
            lease_pb2.Want(
                tenant=want.tenant,
                model=want.model,
                tokens=want.tokens,
                slots=want.slots,
                waiting=want.waiting,
                sequence=want.sequence,
            )
            for want in frame.wants
        ],
        settles=[
            lease_pb2.Settle(
                tenant=settle.tenant,
                used=settle.used,
                tokens=settle.tokens,
                slots=settle.slots,
                done=settle.done,
            )
            for settle in frame.settles
        ],
        outcomes=[
            lease_pb2.Outcome(
                model=outcome.model,
                code=lease_pb2.OutcomeCode.ValueType(outcome.code.value),
                count=outcome.count,
                latency=duration(outcome.latency_s),
                probe=outcome.probe,
            )
            for outcome in frame.outcomes
        ],
    )


def holder_frame(message: guard_service_pb2.LeaseRequest) -> HolderFrame:
    """A holder's frame as it came. Numbers below zero, which nobody of ours sends, count as zero."""
    return HolderFrame(
        hello=_hello(message.hello) if message.HasField("hello") else None,
        wants=[
            Want(
                want.sequence,
                want.tenant,
                want.model,
                max(0, want.tokens),
                max(0, want.slots),
                max(0, want.waiting),
            )
            for want in message.wants
        ],
        settles=[
            Settle(
                settle.tenant,
                max(0, settle.used),
                max(0, settle.tokens),
                max(0, settle.slots),
                settle.done,
            )
            for settle in message.settles
        ],
        outcomes=[
            Outcome(
                outcome.model,
                Code(outcome.code),
                max(1, outcome.count),
                seconds(outcome.latency),
                outcome.probe,
            )
            for outcome in message.outcomes
            if outcome.code in _CODES
        ],
    )


def guard_message(frame: GuardFrame) -> guard_service_pb2.LeaseResponse:
    """The guard's frame on the wire."""
    return guard_service_pb2.LeaseResponse(
        grants=[_grant_message(grant) for grant in frame.grants],
        revokes=[
            lease_pb2.Revoke(tenant=revoke.tenant, slots=revoke.slots, busy_slots=revoke.busy)
            for revoke in frame.revokes
        ],
        snapshot=None if frame.snapshot is None else _snapshot_message(frame.snapshot),
    )


def guard_frame(message: guard_service_pb2.LeaseResponse) -> GuardFrame:
    """The guard's frame as it came."""
    return GuardFrame(
        grants=[_grant(grant) for grant in message.grants],
        revokes=[Revoke(revoke.tenant, revoke.slots, revoke.busy_slots) for revoke in message.revokes],
        snapshot=_snapshot(message.snapshot) if message.HasField("snapshot") else None,
    )


def limits_message(limits: Limits) -> limit_pb2.Limits:
    """Limits on the wire."""
    return limit_pb2.Limits(
        rate=limits.rate, burst=limits.burst, concurrency=limits.concurrency, wait=duration(limits.wait_s)
    )


def limits_of(message: limit_pb2.Limits) -> Limits:
    """Limits as they came."""
    return Limits(message.rate, message.burst, message.concurrency, seconds(message.wait))


def breaker_message(known: KnownBreaker) -> limit_pb2.Breaker:
    """A breaker on the wire."""
    return limit_pb2.Breaker(
        model=known.model,
        state=limit_pb2.BreakerState.ValueType(known.state.value),
        failures=known.failures,
        retry_delay=duration(known.wait_s) if known.wait_s > 0 else None,
    )


def breaker_of(message: limit_pb2.Breaker) -> KnownBreaker:
    """A breaker as it came; a state that is new to us is as good as half open: one asks before using it."""
    state = State(message.state) if message.state in _STATES else State.HALF_OPEN
    return KnownBreaker(message.model, state, message.failures, seconds(message.retry_delay))


def duration(length_s: float) -> Duration:
    """Seconds on the wire."""
    message = Duration()
    message.FromNanoseconds(max(0, round(length_s * 1e9)))
    return message


def seconds(message: Duration) -> float:
    """Seconds as they came."""
    return message.seconds + message.nanos / 1e9


_CODES = frozenset(code.value for code in Code)
_STATES = frozenset(state.value for state in State)


def _hello_message(hello: Hello) -> lease_pb2.Hello:
    return lease_pb2.Hello(
        holder=hello.holder,
        incarnation=hello.incarnation,
        outstanding=[
            lease_pb2.Outstanding(
                tenant=held.tenant, tokens=held.tokens, slots=held.slots, used=held.used, deficit=held.deficit
            )
            for held in hello.outstanding
        ],
        breakers=map(breaker_message, hello.breakers),
        watch_only=hello.watch_only,
    )


def _hello(message: lease_pb2.Hello) -> Hello:
    return Hello(
        message.holder,
        message.incarnation,
        tuple(
            Outstanding(
                held.tenant,
                max(0, held.tokens),
                max(0, held.slots),
                max(0, held.used),
                max(0.0, held.deficit),
            )
            for held in message.outstanding
        ),
        tuple(map(breaker_of, message.breakers)),
        message.watch_only,
    )


def _grant_message(grant: Grant) -> lease_pb2.Grant:
    return lease_pb2.Grant(
        tenant=grant.tenant,
        model=grant.model,
        tokens=grant.tokens,
        slots=grant.slots,
        mode=_MODES[grant.mode],
        retry_delay=duration(grant.retry_s) if grant.mode is None else None,
        limits=None if grant.limits is None else limits_message(grant.limits),
        sequence=grant.sequence,
        probe=grant.probe,
    )


def _grant(message: lease_pb2.Grant) -> Grant:
    return Grant(
        message.tenant,
        message.model,
        message.tokens,
        message.slots,
        _MODE_OF.get(message.mode),
        seconds(message.retry_delay),
        limits_of(message.limits) if message.HasField("limits") else None,
        message.sequence,
        message.probe,
    )


def _snapshot_message(snapshot: Snapshot) -> lease_pb2.Snapshot:
    breakers, revoked, book = snapshot.breakers, snapshot.revoked, snapshot.limits
    return lease_pb2.Snapshot(
        incarnation=snapshot.incarnation or "",
        time_to_live=None if snapshot.ttl_s is None else duration(snapshot.ttl_s),
        holders=snapshot.holders or 0,
        default_limits=None if book is None else limits_message(book.default),
        tenant_limits=[]
        if book is None
        else [
            lease_pb2.NamedLimits(tenant=tenant, limits=limits_message(limits))
            for tenant, limits in book.tenants.items()
        ],
        breaker_settings=None
        if book is None
        else lease_pb2.BreakerSettings(
            failures=book.breaker.failures, open_time=duration(book.breaker.open_s)
        ),
        breakers=None if breakers is None else lease_pb2.BreakerList(breakers=map(breaker_message, breakers)),
        revoked=None if revoked is None else lease_pb2.TokenList(token_ids=revoked),
    )


def _snapshot(message: lease_pb2.Snapshot) -> Snapshot:
    return Snapshot(
        message.incarnation or None,
        seconds(message.time_to_live) if message.HasField("time_to_live") else None,
        message.holders or None,
        _book(message) if message.HasField("default_limits") else None,
        tuple(map(breaker_of, message.breakers.breakers)) if message.HasField("breakers") else None,
        tuple(message.revoked.token_ids) if message.HasField("revoked") else None,
    )


def _book(message: lease_pb2.Snapshot) -> LimitBook:
    rule = message.breaker_settings
    return LimitBook(
        limits_of(message.default_limits),
        {named.tenant: limits_of(named.limits) for named in message.tenant_limits},
        BreakerRule(rule.failures, seconds(rule.open_time)),
    )
