"""Sizes, plain and compressed, at their limits; and bursts on a server that sleeps."""

import asyncio
import gzip
import os
import signal
import socket

import grpc
import pytest

from tests.contract.ingress.calls import as_tenant, ask, stubs
from tests.contract.ingress.conftest import Open
from tests.contract.ingress.echo import INFER_PATH, MAX_MESSAGE_BYTES
from tests.contract.ingress.edge import TENANT, Edge
from tests.unit.runtime.ingress.wire import Client, frame, request

# Of a message near the limit: all but the tensor.
OVERHEAD = len(ask("a", "count", data=b"x" * MAX_MESSAGE_BYTES).SerializeToString()) - MAX_MESSAGE_BYTES


MESSAGE = ask("a", data=bytes(1000)).SerializeToString()


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
@pytest.mark.parametrize(("beyond", "fits"), [(-1, True), (0, True), (1, False)])
async def test_the_limit_is_sharp(
    hot: Edge, beyond: int, fits: bool, compression: grpc.Compression | None
) -> None:
    """Limit - 1 and limit are served, limit + 1 is RESOURCE_EXHAUSTED, compressed or not."""
    async with stubs(hot) as stub:
        size = MAX_MESSAGE_BYTES + beyond - OVERHEAD
        call = stub.infer(ask("a", "count", bytes(size)), metadata=as_tenant(), compression=compression)
        if fits:
            assert (await call).model_version == str(size)
        else:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await call
            assert failed.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await stub.infer(ask("next"), metadata=as_tenant())).id == "next"


@pytest.mark.parametrize(
    ("encoding", "body", "codes"),
    [
        ("gzip", frame(gzip.compress(MESSAGE), flag=1), {0}),
        ("gzip", frame(MESSAGE), {0}),
        ("identity", frame(MESSAGE), {0}),
        ("gzip", frame(gzip.compress(MESSAGE)[:-10], flag=1), {3, 8, 13}),
        ("gzip", frame(gzip.compress(bytes(200 << 20)), flag=1), {8}),
        ("gzip", frame(gzip.compress(bytes(200 << 20))[:-4] + bytes(4), flag=1), {3, 8, 13}),
        ("gzip", frame(b"no gzip" * 100, flag=1), {3, 13}),
        ("br", frame(MESSAGE, flag=1), {12, 13}),
    ],
    ids=["gzip", "plain under gzip", "identity", "cut", "bomb", "lying bomb", "corrupt", "unknown"],
)
async def test_encodings(hot: Edge, encoding: str, body: bytes, codes: set[int]) -> None:
    """Compressed messages are read, bombs and garbage refused, an unknown encoding UNIMPLEMENTED."""
    client = Client(*await asyncio.open_connection("127.0.0.1", hot.port))
    head = f"POST {INFER_PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\nte: trailers\r\n"
    head += f"grpc-encoding: {encoding}\r\n{TENANT}: t\r\ncontent-length: {len(body)}\r\n\r\n"
    reply = await client.call(head.encode() + body)
    client.writer.close()
    assert reply.grpc_status in codes
    if encoding == "br" and hot.hot_path == "h1":  # grpc-core answers INTERNAL, and names none
        assert reply.grpc_status == 12
        assert {"gzip", "identity"} == set(reply.headers["grpc-accept-encoding"].split(","))


async def test_a_burst_on_a_paused_server(hot: Edge) -> None:
    """500 callers at once while the server sleeps: all are answered when it wakes, none refused."""
    async with stubs(hot) as stub:
        assert (await stub.infer(ask("awake"), metadata=as_tenant())).id == "awake"
        os.kill(hot.echo_pid, signal.SIGSTOP)
        try:
            calls = [stub.infer(ask(f"burst-{index}"), metadata=as_tenant()) for index in range(500)]
            await asyncio.sleep(1)
        finally:
            os.kill(hot.echo_pid, signal.SIGCONT)
        assert [(await call).id for call in calls] == [f"burst-{index}" for index in range(500)]


async def test_connections_to_a_paused_server(open_edge: Open) -> None:
    """500 connections to the hot socket itself while the server sleeps: the kernel takes them all."""
    hot = open_edge("h1")
    os.kill(hot.echo_pid, signal.SIGSTOP)
    sockets = []
    try:
        for _ in range(500):
            one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sockets.append(one)
            one.setblocking(False)
            one.connect(str(hot.hot))  # BlockingIOError where the backlog is full
            one.send(request("a", INFER_PATH))
    finally:
        os.kill(hot.echo_pid, signal.SIGCONT)
    for one in sockets:
        client = Client(*await asyncio.open_unix_connection(sock=one))
        reply = await client.reply()
        client.writer.close()
        await client.writer.wait_closed()
        assert reply.grpc_status == 0
