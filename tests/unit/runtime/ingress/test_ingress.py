"""Requests and answers: each its own, each once."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call
from headrace.runtime.server import ListenError
from tests.unit.runtime.ingress.wire import (
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


async def test_requests_follow_each_other_on_one_connection(tmp_path: Path) -> None:
    """Each gets its answer, in turn, and one span each."""
    async with serving(tmp_path, echo) as bench:
        client = await bench.client()
        for name in ("one", "two", "three"):
            reply = await client.call(request(name, more=TRACED))
            assert reply.grpc_status == 0
            assert [answer.id for answer in reply.messages] == [name]
            assert reply.messages[0].model_name == "t"
        assert bench.codes() == ["OK"] * 3
        assert bench.ingress.reserved_bytes == 0


async def test_a_handler_knows_the_size_of_its_request(tmp_path: Path) -> None:
    """The message as it came, without its prefix: what its bytes cost is told from it."""
    sizes: list[int] = []

    async def handler(_: ModelInferRequest, call: Call) -> Answer:
        sizes.append(call.request_bytes)
        return b""

    async with serving(tmp_path, handler) as bench:
        client = await bench.client()
        await client.call(request("one"))
    assert sizes == [len(ModelInferRequest(id="one").SerializeToString())]


async def test_metadata_goes_both_ways(tmp_path: Path) -> None:
    """The handler sees the request's metadata, decoded; its own leaves before and after the answer."""

    async def handler(_: ModelInferRequest, call: Call) -> Answer:
        assert call.metadata["headrace-a-bin"] == b"\0\xff"
        assert call.metadata["x-b"] == "last"
        assert call.transport == "h1"
        assert call.trace_id == "0af7651916cd43dd8448eb211c80319c"
        assert call.deadline is not None
        assert 59 < call.deadline - call.arrived <= 60
        call.initial.append(("headrace-before", "1"))
        call.trailing.append(("headrace-after", "2"))
        return b""

    async with serving(tmp_path, handler) as bench:
        client = await bench.client()
        more = f"headrace-a-bin: AP8\r\nx-b: first\r\nX-B: last\r\ngrpc-timeout: 1M\r\n{TRACED}"
        reply = await client.call(request(more=more))
        assert reply.grpc_status == 0
        assert reply.headers["headrace-before"] == "1"
        assert reply.trailers["headrace-after"] == "2"


async def test_a_client_without_deadline_has_none(tmp_path: Path) -> None:
    """What holds then is the service's to say."""

    async def handler(_: ModelInferRequest, call: Call) -> Answer:
        assert call.deadline is None
        return b""

    async with serving(tmp_path, handler) as bench:
        assert (await (await bench.client()).call(request())).grpc_status == 0


async def test_an_error_is_header_only(tmp_path: Path) -> None:
    """Code, message, details, retry hint and the handler's metadata, all in the head."""

    async def handler(_: ModelInferRequest, call: Call) -> Answer:
        call.trailing.append(("headrace-after", "2"))
        raise HeadraceError("OVERLOADED", "full: é\r\n100 %", retry_after_s=1.2)

    async with serving(tmp_path, handler) as bench:
        client = await bench.client()
        for _ in range(2):  # the connection goes on
            reply = await client.call(request(more=TRACED))
            assert reply.grpc_status == 14
            assert reply.headers["grpc-message"] == "full: %C3%A9%0D%0A100 %25"
            assert reply.headers["retry-after"] == "2"
            assert reply.headers["x-envoy-ratelimited"] == "true"
            assert reply.headers["headrace-after"] == "2"
            assert reply.headers["content-length"] == "0"
            assert reply.reason == "OVERLOADED"
        assert bench.codes() == ["UNAVAILABLE"] * 2


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\0", "é"])
async def test_a_handler_can_not_split_its_answer(tmp_path: Path, value: str) -> None:
    """Metadata that would end its header makes the call INTERNAL, and nothing of it leaves."""

    async def handler(_: ModelInferRequest, call: Call) -> Answer:
        call.trailing.append(("headrace-after", value))
        return b""

    async with serving(tmp_path, handler) as bench:
        reply = await (await bench.client()).call(request())
        assert reply.grpc_status == 13
        assert "headrace-after" not in reply.headers


async def test_a_fault_of_ours_stays_ours(tmp_path: Path) -> None:
    """An exception's text never reaches the caller."""

    async def handler(_: ModelInferRequest, __: Call) -> Answer:
        raise ZeroDivisionError("the secret")

    async with serving(tmp_path, handler) as bench:
        reply = await (await bench.client()).call(request())
        assert reply.grpc_status == 13
        assert "secret" not in str(reply)


async def test_a_handler_that_cancels_itself_is_answered(tmp_path: Path) -> None:
    """A future cancelled inside the handler is no cancelled call: its caller waits."""

    async def handler(_: ModelInferRequest, __: Call) -> Answer:
        raise asyncio.CancelledError

    async with serving(tmp_path, handler) as bench:
        assert (await (await bench.client()).call(request())).grpc_status == 13
        assert bench.ingress.reserved_bytes == 0


async def test_a_stream_is_answered_message_by_message(tmp_path: Path) -> None:
    """Each message leaves before the next is asked for."""
    gates = [asyncio.Event() for _ in range(3)]

    async def stream(_: ModelInferRequest, call: Call) -> AsyncIterator[Answer]:
        call.initial.append(("headrace-before", "1"))
        for index, gate in enumerate(gates):
            yield ModelInferResponse(id=str(index))
            await gate.wait()
        call.trailing.append(("headrace-after", "2"))

    async with serving(tmp_path, echo, stream) as bench:
        client = await bench.client()
        client.send(request(path=STREAM, more=TRACED))
        assert b"headrace-before: 1" in await client.reader.readuntil(b"\r\n\r\n")
        for gate in gates:
            assert await client.reader.readuntil(b"\r\n") == b"8\r\n"
            await client.reader.readexactly(10)
            gate.set()
        rest = await client.reader.readuntil(b"\r\n\r\n")
        assert rest == b"0\r\ngrpc-status: 0\r\nheadrace-after: 2\r\n\r\n"
        assert bench.codes() == ["OK"]


@pytest.mark.parametrize("count", [0, 2])
async def test_a_streams_error_goes_where_it_still_can(tmp_path: Path, count: int) -> None:
    """Before the first message an error is header-only; after it, in the trailers."""

    async def stream(_: ModelInferRequest, __: Call) -> AsyncIterator[Answer]:
        for index in range(count):
            yield ModelInferResponse(id=str(index))
        raise HeadraceError("FIELD_INVALID", "no")

    async with serving(tmp_path, echo, stream) as bench:
        reply = await (await bench.client()).call(request(path=STREAM, more=TRACED))
        assert reply.grpc_status == 3
        assert len(reply.messages) == count
        assert ("grpc-status" in reply.headers) == (count == 0)
        assert bench.codes() == ["INVALID_ARGUMENT"]


async def test_an_empty_stream_is_a_success(tmp_path: Path) -> None:
    """No message, status 0, and the connection goes on."""

    async def stream(_: ModelInferRequest, __: Call) -> AsyncIterator[Answer]:
        for answer in list[Answer]():
            yield answer

    async with serving(tmp_path, echo, stream) as bench:
        client = await bench.client()
        for _ in range(2):
            reply = await client.call(request(path=STREAM))
            assert (reply.grpc_status, reply.body) == (0, b"")


async def test_gzip_is_read(tmp_path: Path) -> None:
    """A compressed message, and an uncompressed one under the same header."""
    async with serving(tmp_path, echo) as bench:
        client = await bench.client()
        for body in (frame(gzip.compress(message("a")), flag=1), frame(message("a"))):
            sized = b"content-length: %d\r\n\r\n" % len(body) + body
            assert (await client.call(head(more="grpc-encoding: gzip\r\n") + sized)).messages[0].id == "a"
        assert bench.ingress.reserved_bytes == 0


async def test_health_for_envoy(tmp_path: Path) -> None:
    """GET /healthz is 200, and 503 when told so; anything else is 404."""
    async with serving(tmp_path, echo) as bench:
        client = await bench.client()
        ask = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
        reply = await client.call(ask)
        assert (reply.status, reply.body) == (200, b"ok")
        bench.ingress.tell(False)
        assert (await client.call(ask)).status == 503
        assert (await client.call(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")).status == 404
        assert (await client.call(request())).grpc_status == 0


async def test_the_socket_is_the_owners(tmp_path: Path) -> None:
    """Mode 0600, gone after the end, and a stale one is replaced."""
    stale = tmp_path / "hot.sock"
    stale.touch()
    async with serving(tmp_path, echo) as bench:
        assert bench.path.is_socket()
        assert bench.path.stat().st_mode & 0o777 == 0o600
    assert not stale.exists()


async def test_a_path_that_the_kernel_would_cut_is_refused(tmp_path: Path) -> None:
    """107 bytes is all that a socket's path may have."""
    folder = tmp_path / ("a" * 100)
    with pytest.raises(ListenError, match="107"):
        async with serving(folder, echo):
            pass
