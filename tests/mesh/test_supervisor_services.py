"""What the supervisor does for valkey, cache, guard, metering and scaling."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import psutil
import pytest

from headrace.local.v1.supervisor_service_pb2 import StartRequest
from headrace.local.v1.supervisor_service_pb2_grpc import SupervisorServiceStub
from tests.support.cache import ROOT
from tests.support.mesh import environment, headrace_command
from tests.support.place import UP_S, Place
from tests.support.waiting import eventually

pytestmark = pytest.mark.mesh

OFF = "limits: {enabled: false}\ncache: {enabled: false}\nmetering: {enabled: false}\n"
ROW = "x=[[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]]"


def infer(place: Place) -> dict[str, Any]:
    return place.ask("infer", "linear", "--input", ROW)


def processes(place: Place) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in place.ask("status")["processes"]}


@contextmanager
def held(pid: int) -> Iterator[None]:
    """A process that neither runs nor ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def going_down(place: Place) -> Iterator[None]:
    """`headrace down` while the block runs; it has ended well behind it."""
    command = [str(part) for part in headrace_command("down", "--state-dir", place.state.root)]
    with subprocess.Popen(command, cwd=ROOT, env=environment({}), stdout=subprocess.DEVNULL) as down:
        yield
        assert down.wait(UP_S) == 0


def ended(place: Place) -> list[str]:
    """The processes that have ended, in their order."""
    lines = map(json.loads, place.state.log("supervisor").read_text().splitlines())
    return [line["process"] for line in lines if line["message"] == "ended"]


def test_everything_off(place: Place) -> None:
    """What is switched off has no process; requests are answered, with no cost and no limits to show."""
    place.configure(OFF)
    place.up()
    assert set(processes(place)) == {"gateway", "inference-0", "insight", "scaling"}
    answer = infer(place)
    assert (answer["cost"], answer["cache"]) == (None, None)
    for command in ("cost", "limits", "breakers"):
        done = place.run(command, "--json", "--state-dir", str(place.state.root))
        assert done.returncode == 1
        assert "does not run" in json.loads(done.stdout)["error"]["what"]


@pytest.mark.chaos
def test_order_of_the_end(place: Place) -> None:
    """Scaling ends first, then the gateway, the replicas, then those whom they told what they did; whom these need, last."""
    place.up()
    before = processes(place)
    stub = SupervisorServiceStub(grpc.insecure_channel(f"unix:{place.state.supervisor_socket}"))
    with going_down(place), held(before["cache"]["pid"]):
        eventually(lambda: {"guard", "metering"} <= set(ended(place)), "the others have ended", UP_S)
        assert psutil.pid_exists(before["valkey"]["pid"])
        assert psutil.pid_exists(before["insight"]["pid"])
        with pytest.raises(
            grpc.RpcError
        ) as refused:  # a scaling that asked late would leave a replica behind
            stub.Start(StartRequest(name="inference"), timeout=UP_S)
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    order = ended(place)
    assert order[:3] == ["scaling", "gateway", "inference-0"]
    assert set(order[3:6]) == {"cache", "guard", "metering"}
    assert set(order[6:]) == {"valkey", "insight"}


@pytest.mark.slow  # test_chaos.py kills one too, and has the ledger judged
@pytest.mark.chaos
def test_usage_of_a_killed_replica(place: Place) -> None:
    """What a replica answered before kill -9 is billed, once, although metering had taken none of it."""
    place.up()
    with held(place.pid("metering")):
        replica = place.pid("inference-0")
        told = [infer(place)["cost"]["nanos"] for _ in range(5)]
        os.kill(replica, signal.SIGKILL)
    # What was on its way to metering is there at once, the rest with the next sweep.
    billed = eventually(lambda: _all_billed(place, len(told)), "the usage is swept", UP_S)
    assert (billed["requests"], billed["total_nanos"]) == (5, sum(told))


def _all_billed(place: Place, requests: int) -> Any:
    """The one row of the bill, once it has so many requests or more."""
    rows = place.ask("cost")["rows"]
    return rows[0] if rows and rows[0]["requests"] >= requests else None


@pytest.mark.chaos
def test_down_sweeps(place: Place) -> None:
    """`down` sends what a dead replica left before metering goes: no outbox is left.

    The next `up` finds the cache's key and Valkey's password: what another Redis holds stays readable.
    """
    place.up()
    secrets = place.state.cache_key.read_bytes(), place.state.valkey_password.read_bytes()
    metering, replica = place.pid("metering"), place.pid("inference-0")
    with ExitStack() as stack, held(metering):
        infer(place)
        os.kill(replica, signal.SIGKILL)
        stack.enter_context(going_down(place))
        eventually(lambda: "gateway" in ended(place), "the end has begun", UP_S)
    assert list(place.state.outbox.iterdir()) == []
    place.up()
    (row,) = place.ask("cost")["rows"]
    assert row["requests"] == 1
    assert (place.state.cache_key.read_bytes(), place.state.valkey_password.read_bytes()) == secrets


def test_revoked_token(place: Place) -> None:
    """`keys revoke` has a token refused within 5 s; it is listed as revoked, and other tokens go on."""
    place.up()
    demo = place.state.demo_token.read_text()
    made = place.ask("keys", "create", "--tenant", "acme")
    place.state.demo_token.write_text(made["token"])
    assert infer(place)["outputs"]
    assert place.ask("keys", "revoke", made["id"])["revoked"] is True

    def refused() -> bool:
        done = place.run("infer", "linear", "--input", ROW, "--state-dir", str(place.state.root))
        return "UNAUTHENTICATED" in done.stderr

    eventually(refused, "it is refused", 5.0)
    listed = {key["id"]: key["revoked_at"] for key in place.ask("keys", "list")["keys"]}
    assert [jti for jti, when in listed.items() if when] == [made["id"]]
    place.state.demo_token.write_text(demo)
    assert infer(place)["outputs"]
