"""What gateways are told, when it is written down, and whose acknowledgement is waited for."""

import asyncio

import pytest

from headrace.runtime.errors import HeadraceError
from headrace.scaling.core.subscription import Request
from headrace.scaling.kept import Told
from headrace.scaling.local_fleet import replicas_in
from tests.fakes.supervisor import process
from tests.unit.scaling.gateway_scene import HOT, acknowledge, endpoints, scene, told


async def test_what_was_told_before_is_told_first() -> None:
    """After a restart a gateway gets the old list at once, of the old version, before anybody was asked."""
    async with scene("inference-0") as made:
        found = await made.gateway().next()
        assert found
        assert (found[0].version, found[1].endpoints) == (7, endpoints("inference-0"))


async def test_nobody_is_told_of_none_before_replicas_register() -> None:
    """A gateway that asks too early is answered when the first one serves."""
    async with scene() as made:
        stream = made.gateway()
        waiting = asyncio.ensure_future(told(stream))
        made.directory.see(replicas_in([process("inference-0", "STARTING")]))
        await asyncio.sleep(0)
        assert not waiting.done()
        made.directory.see(replicas_in([process("inference-0")]))
        assert await waiting == ["inference-0"]


async def test_written_down_before_it_is_told() -> None:
    """Whoever starts again begins with what the gateway knows, or with something newer."""
    async with scene("inference-0") as made:
        stream = made.gateway()
        assert await told(stream) == ["inference-0"]
        versions: list[int] = []
        made.notes.meanwhile = lambda: versions.append(made.streams.told.version)
        made.directory.see(replicas_in([process("inference-0"), process("inference-1")]))
        assert await told(stream) == ["inference-0", "inference-1"]
        assert versions == [7]
        assert made.notes.saved == [Told(8, endpoints("inference-0", "inference-1"))]
        assert made.count("listed_replicas") == 2


async def test_a_full_disk_is_no_reason_to_keep_silent() -> None:
    """What can't be written down is told all the same."""
    async with scene("inference-0") as made:
        stream = made.gateway()
        await told(stream)
        made.notes.error = OSError(28, "No space left on device")
        made.directory.see(replicas_in([process("inference-1")]))
        assert await told(stream) == ["inference-1"]


async def test_news_of_the_same_are_no_news() -> None:
    """A list that did not change gets no version, and nobody is told."""
    async with scene("inference-0") as made:
        made.directory.see(replicas_in([process("inference-0"), process("inference-1", "STARTING")]))
        assert await made.directory.acknowledged()
        assert made.notes.saved == []


async def test_every_gateway_has_to_acknowledge() -> None:
    """One that has not holds it up; one that goes is waited for no more."""
    async with scene("inference-0") as made:
        first, second = made.gateway(), made.gateway()
        await told(first)
        waiting = asyncio.ensure_future(made.directory.acknowledged())
        await told(second, take=False)
        await asyncio.sleep(0)
        assert not waiting.done()
        made.streams.close(second)
        assert await waiting


async def test_an_acknowledgement_of_an_older_list_is_none() -> None:
    """A gateway that takes the list of before is still behind."""
    async with scene("inference-0") as made:
        stream = made.gateway()
        found = await stream.next()
        assert found
        made.directory.see(replicas_in([process("inference-0"), process("inference-1")]))
        waiting = asyncio.ensure_future(made.directory.acknowledged())
        acknowledge(stream, found[0])
        newer = await stream.next()
        assert newer
        assert not waiting.done()
        acknowledge(stream, newer[0])
        assert await waiting


async def test_a_refusal_is_no_acknowledgement() -> None:
    """It is counted when it comes, and the wait for it has an end."""
    async with scene("inference-0", acknowledge_s=0.0) as made:
        stream = made.gateway()
        found = await stream.next()
        assert found
        assert stream.hear(Request(HOT, found[0].nonce, refused=True)) == "7"
        assert stream.hear(Request(HOT, found[0].nonce, refused=True)) == ""
        assert not await made.directory.acknowledged()
        assert made.count("unacknowledged_endpoints_total") == 1


async def test_bounded() -> None:
    """One gateway too many is refused; room is made by one that goes."""
    async with scene("inference-0") as made:
        first, _ = made.gateway(), made.gateway()
        with pytest.raises(HeadraceError) as refused:
            made.gateway()
        assert (refused.value.reason, refused.value.metadata) == ("OVERLOADED", {"limit_streams": "2"})
        made.streams.close(first)
        made.gateway()
        assert made.count("endpoint_streams") == 2


async def test_an_end_ends_every_stream() -> None:
    """The server need not wait for gateways that would listen for ever."""
    async with scene() as made:
        waiting = asyncio.ensure_future(made.gateway().next())
        await asyncio.sleep(0)
        made.streams.end()
        assert await waiting is None
