"""What a mesh owes metering and metering can't take yet: kept, refused when there is no more room, told in the end."""

import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import cast
from uuid import uuid4

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status

from headrace.inference.v2.grpc_service_pb2 import ModelInferResponse
from headrace.local.statedir import StateDir
from headrace.metering.outbox import FILE_ROWS
from tests.chaos.history import History
from tests.chaos.load import Asks, Load, Profile
from tests.chaos.scenario import verdict
from tests.support.ledger import edge_key, ledger_of, outboxes, pending, settled
from tests.support.mesh import (
    CALL_TIMEOUT_S,
    DOWN_TIMEOUT_S,
    RAISED,
    UP_TIMEOUT_S,
    Mesh,
    MeshOptions,
    headrace,
    running_mesh,
)
from tests.support.metered import Answer, Tenant, answer_of, asked, pids, priced_now, tenant
from tests.support.requests import Linear, distinct_rows, linear
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

ROOM = 2 * FILE_ROWS
"""Events that the smallest outbox holds: one file is sent while another is written."""
CONNECTIONS = 32
ROW = distinct_rows(1, seed=35)
FRUGAL = RAISED.replace("}}", "}, tenants: {frugal: {rate: 0.001, burst: 3}}}")
QUIET = "telemetry: {sample_ratio: 0}\n"

_COST = re.compile(rb"headrace-cost-nanos: ?([0-9]+)")


@contextmanager
def fresh(mesh: Mesh, options: MeshOptions) -> Iterator[Mesh]:
    """A mesh of the options, whose prices are known, with the models that `mesh` built."""
    with running_mesh(replace(options, models_from=mesh.state_dir / "models")) as running:
        priced_now(running, linear(ROW), running.demo_token)
        yield running


@pytest.fixture(scope="module")
def small(mesh: Mesh) -> Iterator[Mesh]:
    """A mesh with the smallest outbox that there is, and a tenant with a small limit."""
    options = MeshOptions(env={"HEADRACE_INFERENCE_OUTBOX_EVENTS": "1"}, limits=FRUGAL, config=QUIET)
    with fresh(mesh, options) as running:
        yield running


@contextmanager
def stopped(mesh: Mesh) -> Iterator[None]:
    """Metering, stopped by SIGSTOP; the supervisor ends it after 30 s."""
    (pid,) = pids(mesh, "metering")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Filler:
    """Asks the replica as the gateway does, for what its near-cache has: some thousand times a second."""

    def __init__(self, mesh: Mesh, caller: Tenant) -> None:
        self.answers: list[Answer] = []
        self.refused = 0
        self._caller = caller
        self._path = str(mesh.state_dir / "run" / "inference-0.hot.sock")
        message = linear(ROW, model="linear-cached").SerializeToString()
        self._body = b"\0" + len(message).to_bytes(4, "big") + message
        self._number = 0

    def fill(self, at_most: int) -> None:
        """Until the first refusal."""
        with ExitStack() as stack:
            sockets = [
                stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                for _ in range(CONNECTIONS)
            ]
            for one in sockets:
                one.settimeout(CALL_TIMEOUT_S)
                one.connect(self._path)
            while not self.refused:
                assert len(self.answers) <= at_most, "nothing was refused"
                sent = [(one, self._ask(one)) for one in sockets]
                for one, request_id in sent:
                    self._hear(one, request_id)

    def _ask(self, connection: socket.socket) -> str:
        self._number += 1
        request_id = f"fill-{self._number}"
        head = (
            "POST /inference.GRPCInferenceService/ModelInfer HTTP/1.1\r\nhost: inference\r\nte: trailers\r\n"
            f"content-type: application/grpc\r\nx-request-id: {request_id}\r\nx-tenant-id: {self._caller.name}\r\n"
            f"x-headrace-scopes: infer\r\ncontent-length: {len(self._body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + self._body)
        return request_id

    def _hear(self, connection: socket.socket, request_id: str) -> None:
        data = b""
        while not (b"grpc-status" in data and data.endswith(b"\r\n\r\n")):
            part = connection.recv(65_536)
            assert part, data
            data += part
        if b"USAGE_OUTBOX_FULL" in data or b"grpc-status: 14" in data or b"grpc-status:14" in data:
            self.refused += 1
            return
        found = _COST.search(data)
        assert found, data
        self.answers.append(Answer(self._caller.name, request_id, int(found[1]), "near"))


def test_full_outbox(small: Mesh) -> None:
    """Metering stands still until the outbox is full: new requests are refused, none is lost, and service comes back by itself."""
    caller = tenant(small, "patient")
    earlier = settled(small).audit().events
    with stopped(small):
        filler = Filler(small, caller)
        filler.fill(ROOM)
        with small.inference() as stub:
            calls = [asked(stub, linear(ROW), caller.token) for _ in range(20)]
            for call in calls:
                _assert_full(call)
        assert earlier + len(filler.answers) == ROOM
        assert pending(small) == len(filler.answers)
    answers = filler.answers
    with small.inference() as stub:
        eventually(
            lambda: asked(stub, linear(ROW), small.demo_token).code() == grpc.StatusCode.OK,
            "served again",
            UP_TIMEOUT_S,
        )
        answers += [answer_of(caller.name, asked(stub, linear(ROW), caller.token)) for _ in range(10)]
    ledger = settled(small)
    assert ledger.audit().sound
    events = ledger.events(caller.name)
    assert Counter(event.key for event in events) == Counter(edge_key(one.request_id) for one in answers)
    assert {event.key: event.paid for event in events} == {
        edge_key(one.request_id): one.cost for one in answers
    }


def _assert_full(call: "grpc.CallFuture[ModelInferResponse]") -> None:
    assert call.code() == grpc.StatusCode.UNAVAILABLE
    status = rpc_status.from_call(cast(grpc.Call, call))
    info, retry = ErrorInfo(), RetryInfo()
    assert status.details[0].Unpack(info)
    assert any(detail.Unpack(retry) for detail in status.details)
    assert (info.reason, info.domain) == ("USAGE_OUTBOX_FULL", "metering.headrace")


def test_limited_requests_leave_no_event(small: Mesh) -> None:
    """A request that the guard refuses uses nothing and costs nothing; those that it lets through are all billed."""
    caller = tenant(small, "frugal")
    with small.inference() as stub:
        codes = Counter(asked(stub, linear(ROW), caller.token).code() for _ in range(10))
    assert codes == {grpc.StatusCode.OK: 3, grpc.StatusCode.RESOURCE_EXHAUSTED: 7}
    row = settled(small).costs()[caller.name, "linear"]
    assert (row.requests, row.wasted_requests) == (3, 0)


def test_down_leaves_nothing_behind(mesh: Mesh, tmp_path: Path) -> None:
    """What `headrace down` sends, under load and just after a replica was killed: the ledger has every answer, and no outbox is left."""
    file = tmp_path / "history.jsonl"
    with fresh(mesh, MeshOptions(replicas=2, config=QUIET)) as running, History(file, monotonic) as history:
        callers = [tenant(running, f"leaver-{uuid4().hex[:12]}") for _ in range(2)]
        load = Load(running, history, Asks(Linear(running.state_dir / "models"), seed=35), callers)
        with load.on(Profile()):
            load.answers(500)
            replica = pids(running, "inference")[0]
            # Stopped, so that the periodic sweep comes neither before nor instead of the last one.
            supervisor = _supervisor(running)
            with history.fault("down", ["every process"]):
                os.kill(supervisor, signal.SIGSTOP)
                os.kill(replica, signal.SIGKILL)
                load.answers(100)
                os.kill(supervisor, signal.SIGTERM)
                os.kill(supervisor, signal.SIGCONT)
                eventually(lambda: StateDir(running.state_dir).supervisor() is None, "down", DOWN_TIMEOUT_S)
        assert outboxes(running.state_dir) == []
        found = verdict(file, StateDir(running.state_dir).ledger, [caller.name for caller in callers])
        assert found.violations == []


@pytest.mark.slow
def test_down_without_metering_keeps_the_rest(mesh: Mesh) -> None:
    """Metering hangs when the mesh goes: what it has not taken stays on disk, and the next `up` tells it."""
    with fresh(mesh, MeshOptions(config=QUIET)) as running:
        caller = tenant(running, "stayer")
        os.kill(pids(running, "metering")[0], signal.SIGSTOP)
        with running.inference() as stub:
            answers = [answer_of(caller.name, asked(stub, linear(ROW), caller.token)) for _ in range(20)]
        headrace("down", "--state-dir", running.state_dir)
        assert len(outboxes(running.state_dir)) == 1
        config = running.state_dir / "headrace.yaml"
        headrace(
            "up", "--detach", "--json", "--port", "0", "--config", config, "--state-dir", running.state_dir
        )
        eventually(
            lambda: len(outboxes(running.state_dir)) == 1 and _has_all(running, answers),
            "told after all",
            30.0,
        )
        headrace("down", "--state-dir", running.state_dir)
        assert outboxes(running.state_dir) == []
        row = ledger_of(running).costs()[caller.name, "linear"]
        assert (row.requests, row.wasted_requests) == (len(answers), 0)
        assert row.cost.total == sum(answer.cost or 0 for answer in answers)


def _supervisor(mesh: Mesh) -> int:
    record = StateDir(mesh.state_dir).supervisor()
    assert record
    return record.pid


def _has_all(mesh: Mesh, answers: list[Answer]) -> bool:
    keys = {event.key for event in ledger_of(mesh).events(*{answer.tenant for answer in answers})}
    return keys == {edge_key(answer.request_id) for answer in answers}
