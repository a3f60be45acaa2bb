"""What happens to a connection: second requests, deadlines, ends."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from headrace.runtime.rpc import Call
from tests.unit.runtime.ingress.gate import Gate, settled
from tests.unit.runtime.ingress.wire import STREAM, TRACED, Answer, echo, request, serving


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
