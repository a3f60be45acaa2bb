"""What a connection may take: message and header sizes, the budget of bytes, time to arrive."""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.runtime.rpc import Call
from tests.unit.runtime.ingress.gate import Gate, reached, settled
from tests.unit.runtime.ingress.wire import (
    LIMITS,
    TRACED,
    Answer,
    echo,
    frame,
    head,
    message,
    request,
    serving,
)


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
