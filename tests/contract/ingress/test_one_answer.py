"""One answer, one caller, on the hot ingress (row 36): late, double, early, pipelined and aborted writes."""

import asyncio
import contextlib
import random
import socket
from dataclasses import dataclass, field

import grpc
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from headrace.inference.v2.grpc_service_pb2 import ModelInferResponse
from tests.contract.ingress.calls import Stubs, as_tenant, ask, stubs
from tests.contract.ingress.conftest import Open
from tests.contract.ingress.echo import INFER_PATH
from tests.contract.ingress.edge import Edge
from tests.unit.runtime.ingress.wire import frame, head

CALLERS = 300
HANG_S = 20.0


def raw(name: str, action: str, timeout: str = "", ms: int = 0) -> bytes:
    """A request of the echo, as Envoy would write it."""
    body = frame(ask(name, action, ms=ms).SerializeToString())
    more = f"grpc-timeout: {timeout}\r\n" if timeout else ""
    return head(INFER_PATH, more) + b"content-length: %d\r\n\r\n" % len(body) + body


@dataclass
class Wire:
    """One connection to the hot socket, and who waits on it."""

    socket: socket.socket
    waiting: list[tuple[str, int]] = field(default_factory=list)
    buffer: bytes = b""

    def replies(self, count: int) -> list[tuple[str, int]]:
        """(id, status) of up to `count` answers: fewer when the server ends the connection."""
        found: list[tuple[str, int]] = []
        while len(found) < count:
            answer = self._one()
            if answer is None:
                break
            found.append(answer)
        return found

    def _one(self) -> tuple[str, int] | None:
        headers = self._until(b"\r\n\r\n")
        if headers is None:
            return None
        if b"content-length: 0" in headers:
            return "", _status(headers)
        body = self._until(b"\r\n0\r\n")
        trailers = self._until(b"\r\n\r\n")
        assert body is not None
        assert trailers is not None
        message = body[body.index(b"\r\n") + 2 :]
        return ModelInferResponse.FromString(message[5:]).id, _status(trailers)

    def _until(self, end: bytes) -> bytes | None:
        while end not in self.buffer:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                assert not self.buffer, "half an answer"
                return None
            self.buffer += data
        part, _, self.buffer = self.buffer.partition(end)
        return part + end if end == b"\r\n\r\n" else part


def _status(lines: bytes) -> int:
    found = [line for line in lines.split(b"\r\n") if line.startswith(b"grpc-status: ")]
    assert len(found) == 1
    return int(found[0].split()[1])


class Connections(RuleBasedStateMachine):
    """Callers that behave in every bad way, on a few connections to one server."""

    edge: Edge

    def __init__(self) -> None:
        super().__init__()
        self.wires: list[Wire] = []
        self.asked = 0

    @precondition(lambda self: len(self.wires) < 5)
    @rule()
    def connect(self) -> None:
        """A connection more."""
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.settimeout(HANG_S)
        one.connect(str(self.edge.hot))
        self.wires.append(Wire(one))

    @precondition(lambda self: any(not wire.waiting for wire in self.wires))
    @rule(
        data=st.data(),
        kind=st.sampled_from(["echo", "slow", "late", "fails", "crashes"]),
        cut=st.integers(0, 80),
    )
    def ask(self, data: st.DataObject, kind: str, cut: int) -> None:
        """A request on an idle connection, in one write or two."""
        wire = data.draw(st.sampled_from([wire for wire in self.wires if not wire.waiting]))
        self._send(wire, *self._request(kind), cut=cut)

    @precondition(lambda self: any(wire.waiting for wire in self.wires))
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        """The answer is the caller's own."""
        wire = data.draw(st.sampled_from([wire for wire in self.wires if wire.waiting]))
        assert wire.replies(1) == wire.waiting
        wire.waiting = []

    @precondition(lambda self: any(wire.waiting for wire in self.wires))
    @rule(data=st.data(), kind=st.sampled_from(["echo", "late", "fails"]))
    def pipeline(self, data: st.DataObject, kind: str) -> None:
        """A second request too early: answers in order or none, never another's; then the end."""
        wire = data.draw(st.sampled_from([wire for wire in self.wires if wire.waiting]))
        self._send(wire, *self._request(kind))
        found = wire.replies(2)
        assert found == wire.waiting[: len(found)]
        self._drop(wire)

    @precondition(lambda self: any(not wire.waiting for wire in self.wires))
    @rule(data=st.data())
    def double(self, data: st.DataObject) -> None:
        """Two requests in one write: neither is answered."""
        wire = data.draw(st.sampled_from([wire for wire in self.wires if not wire.waiting]))
        first, second = self._request("echo")[0], self._request("echo")[0]
        wire.socket.sendall(first + second)
        assert wire.replies(1) == []
        self._drop(wire)

    @precondition(lambda self: self.wires)
    @rule(data=st.data(), half=st.booleans())
    def abort(self, data: st.DataObject, half: bool) -> None:
        """The caller goes away, with or without half a request on the wire."""
        wire = data.draw(st.sampled_from(self.wires))
        if half and not wire.waiting:
            wire.socket.sendall(self._request("echo")[0][:-7])
        self._drop(wire)

    def teardown(self) -> None:
        """Nobody is left without an answer."""
        for wire in self.wires:
            assert wire.replies(len(wire.waiting)) == wire.waiting
            wire.socket.close()

    def _request(self, kind: str) -> tuple[bytes, tuple[str, int]]:
        self.asked += 1
        name = f"{id(self)}-{self.asked}"
        match kind:
            case "slow":
                return raw(name, "sleep", ms=5), (name, 0)
            case "late":
                return raw(name, "stubborn", "1m", ms=8), ("", 4)
            case "fails" | "crashes":
                return raw(name, "crashes"), ("", 13)
        return raw(name, "echo"), (name, 0)

    def _send(self, wire: Wire, data: bytes, expected: tuple[str, int], cut: int = 0) -> None:
        with contextlib.suppress(BrokenPipeError):
            if cut:
                wire.socket.sendall(data[:cut])
            wire.socket.sendall(data[cut:])
        wire.waiting.append(expected)

    def _drop(self, wire: Wire) -> None:
        wire.socket.close()
        self.wires.remove(wire)


def test_no_schedule_mixes_answers_up(open_edge: Open) -> None:
    """Whatever callers and handlers do, an answer is read by the one who asked."""

    class OnThisEdge(Connections):
        edge = open_edge("h1")

    run_state_machine_as_test(
        OnThisEdge,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("seed", range(3))
async def test_no_caller_behind_envoy_reads_anothers_answer(hot: Edge, seed: int) -> None:
    """300 callers, many of them rude, over the few connections that Envoy shares among them: 0 mix-ups."""
    chance = random.Random(seed)  # a schedule that can be repeated
    async with stubs(hot) as stub:
        kinds = [
            chance.choice(["echo", "sleep", "late", "cancel", "stream", "leave"]) for _ in range(CALLERS)
        ]
        callers = [
            _caller(stub, kind, f"{hot.hot_path}-{seed}-{index}", chance.random())
            for index, kind in enumerate(kinds)
        ]
        await asyncio.gather(*callers)
        assert (await stub.infer(ask("last"), metadata=as_tenant())).id == "last"


async def _caller(stub: Stubs, kind: str, name: str, luck: float) -> None:
    await asyncio.sleep(luck / 5)
    metadata, ms = as_tenant(name), int(luck * 50)
    match kind:
        case "late":
            call = stub.infer(
                ask(name, "stubborn", ms=2 * ms + 40), metadata=metadata, timeout=ms / 1e3 + 0.02
            )
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await call
            assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        case "cancel":
            call = stub.infer(ask(name, "stubborn", ms=ms + 20), metadata=metadata)
            await asyncio.sleep(ms / 2e3)
            call.cancel()
        case "stream" | "leave":
            stream = stub.stream(ask(name, count=20), metadata=metadata)
            seen = 0
            async for answer in stream:
                assert (answer.id, answer.model_version) == (name, str(seen))
                seen += 1
                if kind == "leave" and seen == 5:
                    stream.cancel()
                    return
            assert seen == 20
        case _:
            answer = await stub.infer(ask(name, kind, ms=ms), metadata=metadata, timeout=HANG_S)
            assert (answer.id, answer.parameters["tenant"].string_param) == (name, name)
