"""What happens to a connection: second requests, deadlines, bounds, ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from headrace.runtime.rpc import Call
from tests.unit.runtime.ingress.wire import (
    LIMITS,
    STREAM,
    TRACED,
    Answer,
    echo,
    frame,
    head,
    message,
    request,
    serving,
)


class Gate:
    """A handler that waits to be let on, and tells what became of it."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._stubborn = stubborn

    async def __call__(self, asked: ModelInferRequest, call: Call) -> Answer:
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            if not self._stubborn:
                raise
            await self.open.wait()
        return await echo(asked, call)


async def settled(check: Callable[[], bool]) -> None:
    """Returns when `check()` holds: the loop needs its turns, not time."""
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110  # what is watched has no event
            await asyncio.sleep(0)


def reached(count: Callable[[], int], expected: int) -> bool:
    """Whether so many are there."""
    return count() == expected


async def test_pipelined_input_ends_the_connection(tmp_path: Path) -> None:
    """A second request before the first is answered: neither is, and the handler is cancelled."""
    gate = Gate()
    async with serving(tmp_path, gate) as bench:
        client = await bench.client()
        client.send(request(more=TRACED))
        await gate.entered.wait()
        client.send(request())
        assert await client.ended() == b""
        await gate.cancelled.wait()
        await settled(lambda: bench.ingress.reserved_bytes == 0)
        assert bench.codes() == ["CANCELLED"]


async def test_two_requests_in_one_write_end_the_connection(tmp_path: Path) -> None:
    """Pipelining in a single read is no better."""
    async with serving(tmp_path, echo) as bench:
        client = await bench.client()
        client.send(request("a") + request("b"))
        assert await client.ended() == b""


async def test_a_closed_connection_cancels_the_work(tmp_path: Path) -> None:
    """Nobody waits: the handler is told, the bytes come back, the span ends once."""
    gate = Gate()
    async with serving(tmp_path, gate) as bench:
        client = await bench.client()
        client.send(request(more=TRACED))
        await gate.entered.wait()
        assert bench.ingress.reserved_bytes > 0
        client.writer.close()
        await gate.cancelled.wait()
        await settled(lambda: bench.ingress.reserved_bytes == 0)
        assert bench.codes() == ["CANCELLED"]


async def test_a_closed_connection_cancels_a_stream(tmp_path: Path) -> None:
    """Also one that waits for its reader: writing stops where reading does."""
    ended = asyncio.Event()
    sent = 0

    async def stream(_: ModelInferRequest, __: Call) -> AsyncIterator[Answer]:
        nonlocal sent
        try:
            while True:
                sent += 1
                yield ModelInferResponse(raw_output_contents=[bytes(50_000)])
        finally:
            ended.set()

    async with serving(tmp_path, echo, stream) as bench:
        client = await bench.client()
        client.writer.transport.set_write_buffer_limits(0)
        client.send(request(path=STREAM, more=TRACED))
        await client.reader.readline()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # a reader that reads no more
        before = -1
        while sent != before:  # it comes to rest although nothing stops it but the reader
            before = sent
            for _ in range(100):
                await asyncio.sleep(0)
        assert sent < 200
        client.writer.transport.abort()
        await ended.wait()
        assert bench.codes() == ["CANCELLED"]


async def test_the_deadline_answers_and_cancels(tmp_path: Path) -> None:
    """DEADLINE_EXCEEDED when it passes, on a connection that goes on."""
    gate = Gate()
    async with serving(tmp_path, gate) as bench:
        client = await bench.client()
        reply = await client.call(request(more="grpc-timeout: 20m\r\n" + TRACED))
        assert reply.grpc_status == 4
        await gate.cancelled.wait()
        gate.open.set()
        assert (await client.call(request("next"))).messages[0].id == "next"
        assert bench.codes() == ["DEADLINE_EXCEEDED"] + ["OK"] * (len(bench.codes()) - 1)


async def test_a_late_answer_is_nobodys(tmp_path: Path) -> None:
    """A handler that ignores its deadline answers into the void, not to the next caller."""
    stubborn = Gate(stubborn=True)

    async def handler(asked: ModelInferRequest, call: Call) -> Answer:
        return await (stubborn if asked.id == "late" else echo)(asked, call)

    async with serving(tmp_path, handler) as bench:
        client = await bench.client()
        assert (await client.call(request("late", more="grpc-timeout: 20m\r\n" + TRACED))).grpc_status == 4
        await stubborn.cancelled.wait()
        stubborn.open.set()
        for name in ("a", "b", "c"):
            assert [answer.id for answer in (await client.call(request(name))).messages] == [name]
        await settled(lambda: bench.ingress.in_flight == 0 and bench.ingress.reserved_bytes == 0)
        assert bench.codes().count("DEADLINE_EXCEEDED") == 1


async def test_a_deadline_inside_a_stream_is_a_trailer(tmp_path: Path) -> None:
    """What has begun ends with status 4; what the handler still yields goes nowhere."""
    release = asyncio.Event()

    async def stream(_: ModelInferRequest, __: Call) -> AsyncIterator[Answer]:
        yield ModelInferResponse(id="first")
        try:
            await release.wait()
        except asyncio.CancelledError:
            yield ModelInferResponse(id="late")

    async with serving(tmp_path, echo, stream) as bench:
        client = await bench.client()
        reply = await client.call(request(path=STREAM, more="grpc-timeout: 50m\r\n"))
        assert reply.trailers["grpc-status"] == "4"
        assert [answer.id for answer in reply.messages] == ["first"]
        assert (await client.call(request("next"))).messages[0].id == "next"


@pytest.mark.parametrize("size", [999, 1000, 1001])
async def test_the_size_limit_is_sharp(tmp_path: Path, size: int) -> None:
    """Limit - 1 and limit pass; limit + 1 is refused by its prefix, unread, and the connection ends."""
    body = message("", size - 3)
    assert len(body) == size
    async with serving(tmp_path, echo) as bench:
        client = await bench.client()
        sized = b"content-length: %d\r\n\r\n" % (size + 5)
        if size <= 1000:
            assert (await client.call(head() + sized + frame(body))).grpc_status == 0
            assert (await client.call(request())).grpc_status == 0
        else:
            reply = await client.call(head(more=TRACED) + sized + frame(body)[:5])
            assert reply.grpc_status == 8
            assert reply.headers["connection"] == "close"
            assert reply.headers["x-envoy-ratelimited"] == "true"
            client.send(frame(body)[5:])
            client.writer.close()
            assert await client.ended() == b""
            assert bench.codes() == ["RESOURCE_EXHAUSTED"]


async def test_what_is_refused_unread_is_no_next_request(tmp_path: Path) -> None:
    """A body that holds a request of its own is dropped with the connection."""
    async with serving(tmp_path, echo, limits=replace(LIMITS, linger_s=0.05)) as bench:
        client = await bench.client()
        inner = request("smuggled")
        body = frame(bytes(2000))
        client.send(head() + b"content-length: %d\r\n\r\n" % (len(body) + len(inner)) + body[:5])
        assert (await client.reply()).grpc_status == 8
        client.send(body[5:] + inner)
        assert await client.ended() == b""  # and it is the server who ends it


async def test_the_budget_is_waited_for_in_turn(tmp_path: Path) -> None:
    """Two fill it; the third and fourth wait with their bodies unread, and go on in order."""
    gate = Gate()
    names = []

    async def handler(asked: ModelInferRequest, call: Call) -> Answer:
        names.append(asked.id)
        return await (gate if asked.id in {"1", "2"} else echo)(asked, call)

    async with serving(tmp_path, handler) as bench:
        first = [await bench.client() for _ in range(2)]
        for index, client in enumerate(first):
            client.send(request(str(index + 1), size=950))
            await settled(partial(reached, lambda: bench.ingress.in_flight, index + 1))
        taken = bench.ingress.reserved_bytes
        assert taken > 1900
        waiting = [await bench.client() for _ in range(2)]
        for index, client in enumerate(waiting):
            client.send(request(str(index + 3), size=900))
            await settled(partial(reached, lambda: bench.ingress.waiting, index + 1))
        assert names == ["1", "2"]
        assert bench.ingress.reserved_bytes == taken
        gate.open.set()
        replies = [await client.reply() for client in first + waiting]
        assert [reply.messages[0].id for reply in replies] == names == ["1", "2", "3", "4"]
        await settled(lambda: bench.ingress.reserved_bytes == 0)
        for client in waiting:  # reading goes on
            assert (await client.call(request())).grpc_status == 0


async def test_who_waits_is_not_read(tmp_path: Path) -> None:
    """The body of a request that has no bytes yet stays with its sender."""
    gate, size = Gate(), 8 << 20
    limits = replace(LIMITS, max_message_bytes=size + 1000, budget_bytes=size + 2000)
    async with serving(tmp_path, gate, limits=limits) as bench:
        holder, client = await bench.client(), await bench.client()
        holder.send(request("1", size=size))
        await gate.entered.wait()
        client.send(request("2", size=size))
        await settled(lambda: bench.ingress.waiting == 1)
        for _ in range(200):
            await asyncio.sleep(0)
        assert client.writer.transport.get_write_buffer_size() > size // 2
        gate.open.set()
        assert (await client.reply()).messages[0].id == "2"


@pytest.mark.parametrize("whole", [True, False])
async def test_waiting_for_the_budget_ends(tmp_path: Path, whole: bool) -> None:
    """Who gets none in time is refused, not to be retried; the connection ends if there is more to read."""
    gate = Gate()
    limits = replace(LIMITS, budget_bytes=1100, budget_wait_s=0.05)
    async with serving(tmp_path, gate, limits=limits) as bench:
        holder = await bench.client()
        holder.send(request("1", size=950))
        await gate.entered.wait()
        client = await bench.client()
        asked = request("2", more=TRACED, size=900)
        client.send(asked if whole else asked[:-10])
        reply = await client.reply()
        assert reply.grpc_status == 14
        assert reply.headers["x-envoy-ratelimited"] == "true"
        assert reply.headers["retry-after"] == "1"
        assert (reply.headers.get("connection") == "close") == (not whole)
        assert bench.codes() == ["UNAVAILABLE"]
        gate.open.set()
        assert (await holder.reply()).grpc_status == 0
        assert bench.ingress.reserved_bytes == 0


async def test_one_who_leaves_the_queue_lets_the_next_on(tmp_path: Path) -> None:
    """A caller that gives up waiting is not waited for."""
    gate = Gate()
    async with serving(tmp_path, gate, limits=replace(LIMITS, budget_bytes=1100)) as bench:
        holder, large, small = [await bench.client() for _ in range(3)]
        holder.send(request("1", size=500))
        await gate.entered.wait()
        large.send(request("2", more="grpc-timeout: 100m\r\n", size=900))
        await settled(lambda: bench.ingress.waiting == 1)
        small.send(request("3", size=100))
        await settled(lambda: bench.ingress.waiting == 2)
        assert (await large.reply()).grpc_status == 4
        await settled(lambda: bench.ingress.in_flight == 2)
        gate.open.set()
        assert (await small.reply()).messages[0].id == "3"


@pytest.mark.parametrize("cut", [20, -5])
async def test_a_request_must_arrive(tmp_path: Path, cut: int) -> None:
    """Half a head or half a body does not stay for ever; an idle connection does."""
    async with serving(tmp_path, echo, limits=replace(LIMITS, read_timeout_s=0.05)) as bench:
        idle, client = await bench.client(), await bench.client()
        client.send(request(size=100)[:cut])
        reply = await client.reply()
        assert reply.grpc_status == 4
        assert reply.headers["connection"] == "close"
        assert bench.ingress.reserved_bytes == 0
        assert (await idle.call(request())).grpc_status == 0


async def test_too_many_headers_are_refused(tmp_path: Path) -> None:
    """With an answer, and the connection's end."""
    async with serving(tmp_path, echo) as bench:
        client = await bench.client()
        reply = await client.call(request(more="x-a: 1\r\n" * 120))
        assert reply.grpc_status == 3
        assert reply.headers["connection"] == "close"


async def test_a_client_that_wants_to_close_is_let(tmp_path: Path) -> None:
    """`connection: close` is answered by the same, and done."""
    async with serving(tmp_path, echo) as bench:
        client = await bench.client()
        reply = await client.call(request(more="connection: close\r\n"))
        assert reply.grpc_status == 0
        assert reply.headers["connection"] == "close"
        assert await client.ended() == b""


async def test_drain_still_serves_and_says_close(tmp_path: Path) -> None:
    """New and old connections are answered; each answer is its connection's last."""
    gate = Gate()
    async with serving(tmp_path, gate) as bench:
        old = await bench.client()
        old.send(request("1"))
        await gate.entered.wait()
        bench.ingress.drain()
        gate.open.set()
        for reply, client in [
            (await old.reply(), old),
            (await (new := await bench.client()).call(request()), new),
        ]:
            assert reply.grpc_status == 0
            assert reply.headers["connection"] == "close"
            assert await client.ended() == b""


async def test_close_lets_work_finish(tmp_path: Path) -> None:
    """Idle connections end at once, a running call is answered within the grace."""
    gate = Gate()
    async with serving(tmp_path, gate) as bench:
        idle, busy = await bench.client(), await bench.client()
        busy.send(request("1"))
        await gate.entered.wait()
        closing = asyncio.create_task(bench.ingress.close(60))
        assert await idle.ended() == b""
        with pytest.raises(OSError):  # noqa: PT011  # which one depends on the moment
            await asyncio.open_unix_connection(bench.path)
        gate.open.set()
        assert (await busy.reply()).messages[0].id == "1"
        await closing


async def test_close_refuses_what_outlasts_the_grace(tmp_path: Path) -> None:
    """A call that would not end is answered UNAVAILABLE and cancelled."""
    gate = Gate()
    async with serving(tmp_path, gate) as bench:
        client = await bench.client()
        client.send(request(more=TRACED))
        await gate.entered.wait()
        await bench.ingress.close(0)
        assert (await client.reply()).grpc_status == 14
        assert gate.cancelled.is_set()
        assert bench.codes() == ["UNAVAILABLE"]


async def test_a_call_cancelled_before_its_first_step_gives_its_bytes_back(tmp_path: Path) -> None:
    """Its task never runs a line, so nothing inside it can clean up."""
    async with serving(tmp_path, echo) as bench:
        client = await bench.client()
        client.send(request() + b"x")
        assert await client.ended() == b""
        await settled(lambda: bench.ingress.reserved_bytes == 0 and bench.ingress.in_flight == 0)
