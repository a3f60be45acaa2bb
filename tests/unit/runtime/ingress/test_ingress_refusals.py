"""Requests that reach no handler: without one identity, malformed, for no method."""

import gzip
from pathlib import Path

import pytest

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.runtime.rpc import Call
from tests.unit.runtime.ingress.wire import (
    IDENTITY,
    TRACED,
    Answer,
    echo,
    frame,
    head,
    message,
    request,
    serving,
)

BOMB = gzip.compress(bytes(1001), mtime=0)
"""Without the hour: it is part of a test's name, and every process that collects tests must find the same."""


async def unreached(_: ModelInferRequest, __: Call) -> Answer:
    """The handler of requests that must not get to one."""
    raise AssertionError("reached")


@pytest.mark.parametrize(
    ("identity", "code", "why"),
    [
        ("", 16, "UNAUTHENTICATED"),
        ("x-headrace-scopes: infer\r\n", 16, "UNAUTHENTICATED"),
        ("x-tenant-id: t\r\nx-headrace-scopes: observe\r\n", 7, "SCOPE_MISSING"),
        (IDENTITY + "x-tenant-id: u\r\n", 3, "HEADER_INVALID"),
        (IDENTITY + "X-Tenant-ID: u\r\n", 3, "HEADER_INVALID"),
        (IDENTITY + "x-tenant-id: t\r\n", 3, "HEADER_INVALID"),
        (IDENTITY + "x-headrace-scopes: operate\r\n", 3, "HEADER_INVALID"),
        (IDENTITY + "x-headrace-token-id: a\r\nx-headrace-token-id: b\r\n", 3, "HEADER_INVALID"),
    ],
)
async def test_identity_is_there_exactly_once(tmp_path: Path, identity: str, code: int, why: str) -> None:
    """Missing or twice, in whatever case: refused before the handler."""
    async with serving(tmp_path, unreached) as bench:
        client = await bench.client()
        for _ in range(2):
            reply = await client.call(request(identity=identity, more=TRACED))
            assert (reply.grpc_status, reply.reason) == (code, why)
        assert len(bench.codes()) == 2
        assert bench.ingress.reserved_bytes == 0


@pytest.mark.parametrize("forged", [b"x-tenant-id: evil\r\n", b"x-tenant-id: evil\r\nx-more: 1\r\n"])
async def test_trailers_are_discarded(tmp_path: Path, forged: bytes) -> None:
    """Identity in trailers is nobody's: not this request's, not the next one's."""
    async with serving(tmp_path, echo) as bench:
        client = await bench.client()
        body = frame(message("a"))
        coded = b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, forged)
        reply = await client.call(head() + coded)
        assert reply.messages[0].model_name == "t"
        assert (await client.call(request())).messages[0].model_name == "t"
        assert (await client.call(head(identity="") + coded)).grpc_status == 16
        assert (await client.call(request(identity=""))).grpc_status == 16


@pytest.mark.parametrize(
    ("more", "body", "code", "why"),
    [
        ("grpc-encoding: br\r\n", frame(message()), 12, "ENCODING_UNSUPPORTED"),
        ("grpc-timeout: soon\r\n", frame(message()), 3, "HEADER_INVALID"),
        ("", b"", 3, "MESSAGE_INVALID"),
        ("", frame(b"\xff"), 3, "MESSAGE_INVALID"),
        ("", frame(b"", flag=1), 3, "MESSAGE_INVALID"),
        ("", frame(b"", flag=9), 3, "MESSAGE_INVALID"),
        ("grpc-encoding: gzip\r\n", frame(b"no gzip, but long enough", flag=1), 3, "MESSAGE_INVALID"),
        ("grpc-encoding: gzip\r\n", frame(BOMB, flag=1), 8, "MESSAGE_TOO_LARGE"),
        ("grpc-timeout: 0n\r\n", frame(message()), 4, "DEADLINE_EXCEEDED"),
    ],
)
async def test_refusals_of_what_is_no_request(
    tmp_path: Path, more: str, body: bytes, code: int, why: str
) -> None:
    """Each has its reason, costs no handler and no bytes, and ends its span once."""
    async with serving(tmp_path, unreached) as bench:
        client = await bench.client()
        reply = await client.call(head(more=more + TRACED) + b"content-length: %d\r\n\r\n" % len(body) + body)
        assert (reply.grpc_status, reply.reason) == (code, why)
        assert ("grpc-accept-encoding" in reply.headers) == (code == 12)
        assert ("x-envoy-ratelimited" in reply.headers) == (code == 8)
        assert len(bench.codes()) == 1
        assert bench.ingress.reserved_bytes == 0


async def test_an_unknown_method_is_unimplemented(tmp_path: Path) -> None:
    """And the connection goes on."""
    async with serving(tmp_path, echo) as bench:
        client = await bench.client()
        reply = await client.call(request(path="/a.B/Nothing"))
        assert (reply.grpc_status, reply.reason) == (12, "METHOD_UNKNOWN")
        assert (await client.call(request())).grpc_status == 0
