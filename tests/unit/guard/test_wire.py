"""Frames on the wire, and back."""

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
from headrace.guard.wire import breaker_of, guard_frame, guard_message, holder_frame, holder_message

LIMITS = Limits(0.01, 20, 7, 0.25)
BREAKER = KnownBreaker("bad", State.OPEN, 5, 42.5)


def test_a_holders_frame_arrives_as_it_left() -> None:
    """Every field of every message."""
    frame = HolderFrame(
        Hello("r1", "i", (Outstanding("t", 1, 2, 3, 4.5),), (BREAKER,), watch_only=True),
        [Want(1, tenant="t", tokens=2, slots=3, waiting=4), Want(2, model="bad")],
        [Settle("t", 10, 2, 3, done=True)],
        [Outcome("bad", Code.FAILURE, 1, 0.5, 9), Outcome("m", Code.SUCCESS, 7, 0.25)],
    )
    sent = holder_message(frame).SerializeToString()
    assert holder_frame(guard_service_pb2.LeaseRequest.FromString(sent)) == frame


def test_the_guards_frame_arrives_as_it_left() -> None:
    """Every field of every message."""
    frame = GuardFrame(
        [
            Grant("t", tokens=3, slots=2, mode=Mode.LEASED, limits=LIMITS, sequence=7),
            Grant("t", mode=Mode.SYNC),
            Grant("t", retry_s=1.5, sequence=8),
            Grant(model="bad", probe=5, sequence=9),
        ],
        [Revoke("t", 4, 3)],
        Snapshot(
            "i", 1.5, 3, LimitBook(LIMITS, {"t": Limits()}, BreakerRule(3, 0.5)), (BREAKER,), ("a", "b")
        ),
    )
    sent = guard_message(frame).SerializeToString()
    assert guard_frame(guard_service_pb2.LeaseResponse.FromString(sent)) == frame


def test_what_has_not_changed_is_not_what_is_empty() -> None:
    """No list is not an empty list: one says nothing, the other that all is well."""
    nothing = guard_frame(guard_message(GuardFrame(snapshot=Snapshot())))
    empty = guard_frame(guard_message(GuardFrame(snapshot=Snapshot(breakers=(), revoked=()))))
    assert nothing.snapshot == Snapshot()
    assert empty.snapshot == Snapshot(breakers=(), revoked=())


def test_numbers_below_zero_count_as_zero() -> None:
    """Nobody of ours sends them; they must not make limits larger."""
    frame = holder_frame(
        guard_service_pb2.LeaseRequest(
            hello=lease_pb2.Hello(
                outstanding=[lease_pb2.Outstanding(tokens=-1, slots=-1, used=-1, deficit=-1.0)]
            ),
            wants=[lease_pb2.Want(tokens=-5, slots=-5, waiting=-5)],
            settles=[lease_pb2.Settle(used=-5, tokens=-5, slots=-5)],
            outcomes=[lease_pb2.Outcome(model="m", code=lease_pb2.OUTCOME_CODE_FAILURE, count=-5)],
        )
    )
    assert frame.hello is not None
    assert frame.hello.outstanding == (Outstanding("", 0, 0, 0, 0.0),)
    assert frame.wants == [Want(0)]
    assert frame.settles == [Settle("", 0)]
    assert frame.outcomes == [Outcome("m", Code.FAILURE, 1, 0.0)]


def test_what_a_newer_version_says_is_taken_with_care() -> None:
    """An unknown outcome is dropped; an unknown breaker state is one that has to be asked about."""
    outcomes = [lease_pb2.Outcome(model="m", code=99)]  # type: ignore[arg-type]
    assert holder_frame(guard_service_pb2.LeaseRequest(outcomes=outcomes)).outcomes == []
    assert breaker_of(limit_pb2.Breaker(model="m", state=99)).state is State.HALF_OPEN  # type: ignore[arg-type]
