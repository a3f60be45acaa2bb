"""Replicas start warm and end unused; what runs is asked of the supervisor."""

import asyncio

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from headrace.runtime.errors import HeadraceError
from headrace.scaling.fleet import Replica, ReplicaState
from headrace.scaling.local_fleet import follow, replicas_in
from tests.fakes.supervisor import FakeOwner, process
from tests.unit.scaling.gateway_scene import scene, told

TWO = (process("inference-0"), process("inference-1"))


def refusal(code: grpc.StatusCode, reason: str = "", domain: str = "local.headrace") -> grpc.aio.AioRpcError:
    """What the supervisor answers; without a reason it is the channel that fails."""
    packed = Any()
    packed.Pack(ErrorInfo(reason=reason, domain=domain))
    details = Status(details=[packed] if reason else []).SerializeToString()
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", details))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, "inference-2 did not start", "")


def test_states() -> None:
    """Each process of inference is a replica, in the state that says whether it takes requests."""
    states = ("STARTING", "HEALTHY", "UNHEALTHY", "BACKOFF", "DRAINING", "STOPPED")
    processes = [process(f"inference-{n}", state) for n, state in enumerate(states)]
    replicas = replicas_in([*processes, process("guard", "HEALTHY", "guard")])
    starting, serving = ReplicaState.STARTING, ReplicaState.SERVING
    assert [one.state for one in replicas] == [
        starting,
        serving,
        serving,
        starting,
        ReplicaState.DRAINING,
        ReplicaState.STOPPED,
    ]
    assert replicas[1] == Replica(
        "inference-1", serving, "127.0.0.1:1", "/r/inference-1.hot", "/r/inference-1.grpc"
    )


async def test_start() -> None:
    """A replica is there when the gateway has acknowledged the list with it."""
    async with scene("inference-0", owner=FakeOwner(TWO[0])) as made:
        stream = made.gateway()
        assert await told(stream) == ["inference-0"]
        starting = asyncio.create_task(made.fleet.start())
        assert await told(stream, take=False) == ["inference-0", "inference-1"]
        await asyncio.sleep(0)
        assert not starting.done()
        made.streams.close(stream)
        assert (await starting).name == "inference-1"


async def test_stop() -> None:
    """Out of the list and acknowledged before the supervisor hears of it."""
    async with scene("inference-0", "inference-1", owner=FakeOwner(*TWO)) as made:
        stream = made.gateway()
        assert await told(stream) == ["inference-0", "inference-1"]
        made.directory.see(replicas_in(list(TWO)))
        stopping = asyncio.create_task(made.fleet.stop("inference-1"))
        assert await told(stream, take=False) == ["inference-0"]
        await asyncio.sleep(0)
        assert made.owner.owned["inference-1"].state == "HEALTHY"
        made.streams.close(stream)
        await stopping
        assert made.owner.owned["inference-1"].state == "STOPPED"
        assert [one.name for one in made.streams.told.endpoints or ()] == ["inference-0"]


async def test_stop_after_a_pause() -> None:
    """What was on its way when the gateway acknowledged is still served: the supervisor hears of it later."""
    async with scene("inference-0", "inference-1", owner=FakeOwner(*TWO), settle_s=3600.0) as made:
        stream = made.gateway()
        await told(stream)
        made.directory.see(replicas_in(list(TWO)))
        stopping = asyncio.create_task(made.fleet.stop("inference-1"))
        assert await told(stream) == ["inference-0"]
        assert await made.directory.acknowledged()
        for _ in range(100):
            await asyncio.sleep(0)
        assert made.owner.owned["inference-1"].state == "HEALTHY"
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)


async def test_stop_without_an_acknowledgement() -> None:
    """A gateway that hangs holds a stop up for a bounded time: the supervisor looks for itself then."""
    async with scene("inference-0", "inference-1", owner=FakeOwner(*TWO), acknowledge_s=0.0) as made:
        made.gateway()
        await made.fleet.stop("inference-1")
        assert made.owner.owned["inference-1"].state == "STOPPED"


async def test_stop_that_fails() -> None:
    """The replica is listed again: it runs."""
    async with scene("inference-0", "inference-1", owner=FakeOwner(*TWO)) as made:
        stream = made.gateway()
        await told(stream)
        made.directory.see(replicas_in(list(TWO)))
        made.owner.error = refusal(grpc.StatusCode.UNAVAILABLE)
        stopping = asyncio.create_task(made.fleet.stop("inference-1"))
        assert await told(stream) == ["inference-0"]
        with pytest.raises(HeadraceError):
            await stopping
        assert await told(stream) == ["inference-0", "inference-1"]


@pytest.mark.parametrize(
    ("error", "reason", "metadata"),
    [
        (refusal(grpc.StatusCode.UNAVAILABLE), "SUPERVISOR_LOST", {"problem": "UNAVAILABLE"}),
        (refusal(grpc.StatusCode.DEADLINE_EXCEEDED), "SUPERVISOR_LOST", {"problem": "DEADLINE_EXCEEDED"}),
        (
            refusal(grpc.StatusCode.NOT_FOUND, "PROCESS_NOT_FOUND"),
            "REPLICA_NOT_FOUND",
            {"name": "inference-1"},
        ),
        (
            refusal(grpc.StatusCode.FAILED_PRECONDITION, "PROCESS_STATE"),
            "REPLICA_STATE",
            {"name": "inference-1"},
        ),
        (
            refusal(grpc.StatusCode.UNAVAILABLE, "START_FAILED"),
            "START_FAILED",
            {"problem": "inference-2 did not start"},
        ),
        (
            refusal(grpc.StatusCode.UNAVAILABLE, "START_FAILED", "somebody.else"),
            "SUPERVISOR_LOST",
            {"problem": "UNAVAILABLE"},
        ),
    ],
)
async def test_refusals(error: grpc.aio.AioRpcError, reason: str, metadata: dict[str, str]) -> None:
    """What the supervisor refuses is scaling's own error; a supervisor that is gone is another one."""
    async with scene("inference-0", "inference-1", owner=FakeOwner(*TWO)) as made:
        made.owner.error = error
        with pytest.raises(HeadraceError) as refused:
            await made.fleet.stop("inference-1")
        assert (refused.value.reason, refused.value.domain) == (reason, "scaling.headrace")
        assert refused.value.metadata == metadata


async def test_what_runs_is_asked() -> None:
    """A replica that died since is not counted as running."""
    async with scene("inference-0", "inference-1", owner=FakeOwner(*TWO)) as made:
        made.owner.owned["inference-1"] = process("inference-1", "BACKOFF")
        states = {one.name: one.state for one in await made.fleet.replicas()}
        assert states == {"inference-0": ReplicaState.SERVING, "inference-1": ReplicaState.STARTING}


async def test_follow() -> None:
    """Each change reaches the gateway; a supervisor that is lost leaves its last word."""
    async with scene(owner=FakeOwner(*TWO)) as made:
        following = asyncio.create_task(follow(made.owner, made.directory, made.metrics))
        stream = made.gateway()
        assert await told(stream) == ["inference-0", "inference-1"]
        made.owner.owned["inference-1"] = process("inference-1", "DRAINING")
        made.owner.changed.set()
        assert await told(stream) == ["inference-0"]
        made.owner.error = refusal(grpc.StatusCode.UNAVAILABLE)
        made.owner.changed.set()
        while not made.count("supervisor_losses_total"):  # noqa: ASYNC110  # a metric wakes nobody
            await asyncio.sleep(0)
        assert await made.directory.acknowledged()
        assert [one.name for one in made.streams.told.endpoints or ()] == ["inference-0"]
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
