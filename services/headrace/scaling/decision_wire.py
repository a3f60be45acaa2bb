"""Decisions and pools between the contract's messages and our own values."""

from enum import Enum
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.scaling.core.conditions import Reading, Threshold
from headrace.scaling.core.policy import Action, Cause, Decision
from headrace.scaling.core.signals import Signal
from headrace.scaling.core.state import Entry
from headrace.scaling.v1 import scaling_pb2 as pb

E = TypeVar("E", bound=Enum)


def entry_message(entry: Entry) -> pb.Decision:
    """A decision of the history."""
    message = decision_message(entry.decision, entry.time_ns)
    message.number = entry.number
    return message


def decision_message(decision: Decision, time_ns: int) -> pb.Decision:
    """A decision."""
    return pb.Decision(
        decide_time=Timestamp(seconds=time_ns // 10**9, nanos=time_ns % 10**9),
        action=pb.Action.Value(f"ACTION_{decision.action.name}"),
        cause=pb.Cause.Value(f"CAUSE_{decision.cause.name}"),
        before=decision.before,
        after=decision.after,
        running=decision.running,
        readings=map(_reading_message, decision.readings),
        stale=decision.stale,
    )


def entry_of(message: pb.Decision) -> Entry:
    """The decision of a message; raises ValueError for names that we don't know."""
    decision = Decision(
        _named(Action, pb.Action.Name(message.action), "ACTION_"),
        _named(Cause, pb.Cause.Name(message.cause), "CAUSE_"),
        message.before,
        message.after,
        message.running,
        tuple(map(_reading, message.readings)),
        tuple(message.stale),
    )
    return Entry(message.number, message.decide_time.ToNanoseconds(), decision)


def _reading_message(reading: Reading) -> pb.Reading:
    threshold = reading.threshold or Threshold(0.0, 0.0)
    beyond = Duration()
    beyond.FromNanoseconds(round(reading.for_s * 1e9))
    return pb.Reading(
        signal=pb.Signal.Value(f"SIGNAL_{reading.signal.name}"),
        value=reading.value,
        up_threshold=threshold.up,
        down_threshold=threshold.down,
        over=reading.over,
        under=reading.under,
        beyond_time=beyond,
    )


def _reading(message: pb.Reading) -> Reading:
    threshold = Threshold(message.up_threshold, message.down_threshold)
    return Reading(
        _named(Signal, pb.Signal.Name(message.signal), "SIGNAL_"),
        message.value,
        threshold if threshold.up or threshold.down else None,
        message.over,
        message.under,
        message.beyond_time.ToNanoseconds() / 1e9,
    )


def _named(kind: type[E], name: str, prefix: str) -> E:
    try:
        return kind[name.removeprefix(prefix)]
    except KeyError:
        raise ValueError(f"{name} is not known here") from None
