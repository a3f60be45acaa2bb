"""Calls given up by the hundred: the others on their connection go on, until it is a flood."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest

from headrace.local.gateway import GatewaySettings
from tests.contract.gateway.edge import INFER, Edge, edge_of, raw
from tests.contract.gateway.replica import Reply, Seen, echo
from tests.support.waiting import eventually

AT_ONCE, STREAMS = 50, 100
"""Calls in flight in these tests, and as many as a connection may have."""

HTTP2_CODEC_RESETS = 1_000
PREMATURE_RESETS = 250
"""After how many resets on end a connection was closed once: by the HTTP/2 codec, by Envoy itself."""


@pytest.fixture
def patient(edge: Edge) -> Iterator[Edge]:
    """The shared gateway; who calls with `wait` gets no answer."""
    edge.replica.reply = waiting
    yield edge
    edge.replica.reply = echo


def waiting(seen: Seen) -> Reply:
    return Reply(b"late", after_s=30.0) if seen.message == b"wait" else echo(seen)


def give_up(edge: Edge, channel: grpc.Channel, count: int) -> int:
    """Cancels `count` calls that the replica has; how many of them before the connection broke."""
    method, metadata = raw(channel, INFER), tuple(edge.bearer().items())
    for given_up in range(0, count, AT_ONCE):
        before = len(edge.replica.seen)
        calls = [method.future(b"wait", metadata=metadata, timeout=20) for _ in range(AT_ONCE)]
        if not arrived(edge, before + AT_ONCE, calls):
            return given_up
        for call in calls:
            call.cancel()
    return count


def arrived(edge: Edge, count: int, calls: "Sequence[grpc.CallFuture[bytes]]") -> bool:
    """Waits until the replica has `count` calls; False when one of `calls` ended before that."""

    def settled() -> bool:
        return len(edge.replica.seen) >= count or any(call.done() for call in calls)

    eventually(settled, "the calls are at the replica, or broken off")
    return not any(call.done() for call in calls)


def cut_off(edge: Edge) -> int:
    """Connections that a guard against resets closed: the codec's, or Envoy's own."""
    stats = edge.stats("edge.downstream_(cx_protocol_error|rq_too_many_premature_resets)")
    return sum(stats.values())


def test_giving_up_touches_nobody_else(patient: Edge) -> None:
    """A call in flight outlives 1,500 that are given up beside it, and the connection answers the next."""
    count = HTTP2_CODEC_RESETS + 2 * PREMATURE_RESETS
    before = cut_off(patient)
    with patient.channel() as channel:
        metadata = tuple(patient.bearer().items())
        beside = raw(channel, INFER).future(b"wait", metadata=metadata, timeout=30)
        assert give_up(patient, channel, count) == count
        assert raw(channel, INFER)(b"hello", metadata=metadata, timeout=5) == b"hello"
        assert not beside.done()
        assert cut_off(patient) == before
        beside.cancel()


def test_a_flood_is_cut_off() -> None:
    """More than ten seconds' worth of resets at once end the connection; a new one is served."""
    with edge_of(GatewaySettings(Path(), Path(), max_resets=10)) as edge:
        edge.replica.reply = waiting
        with edge.channel() as channel:
            begun = time.monotonic()
            given_up = give_up(edge, channel, 2000)
            refilled = 10 * (time.monotonic() - begun)
            # Late by two rounds at the most (the one that is cut off, the one that finds it out), and
            # by the streams of a connection: a busy client may still have their resets to send.
            assert 100 <= given_up <= 100 + refilled + 2 * AT_ONCE + STREAMS
        with edge.channel() as another:
            metadata = tuple(edge.bearer().items())
            assert raw(another, INFER)(b"hello", metadata=metadata, timeout=5) == b"hello"
