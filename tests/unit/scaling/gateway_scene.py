"""A directory with one gateway that listens, and no wire between them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from headrace.scaling.core.listing import Endpoint, Endpoints, Listing
from headrace.scaling.core.subscription import Offer, Request
from headrace.scaling.directory import Directory
from headrace.scaling.kept import Told
from headrace.scaling.local_fleet import LocalFleet
from headrace.scaling.metrics import EndpointMetrics
from headrace.scaling.streams import Stream, Streams
from tests.fakes.neighbours import SetClock
from tests.fakes.supervisor import FakeOwner, Notes

HOT = frozenset({"inference-hot"})


def endpoints(*names: str) -> Endpoints:
    return tuple(Endpoint(name, f"/r/{name}.hot", f"/r/{name}.grpc") for name in names)


@dataclass
class Scene:
    """Everything between the supervisor and the gateway."""

    clock: SetClock
    notes: Notes
    streams: Streams
    directory: Directory
    owner: FakeOwner
    fleet: LocalFleet
    metrics: EndpointMetrics
    registry: CollectorRegistry

    def gateway(self) -> Stream:
        """One that has asked."""
        stream = self.streams.open()
        stream.hear(Request(HOT))
        return stream

    def count(self, name: str) -> float | None:
        """A metric's value."""
        return self.registry.get_sample_value(f"headrace_scaling_{name}")


async def told(stream: Stream, *, take: bool = True) -> list[str]:
    """The names that the gateway is told next; it acknowledges them, unless it is not to."""
    found = await stream.next()
    assert found
    offer, what = found
    if take:
        acknowledge(stream, offer)
    return [one.name for one in what.endpoints or ()]


def acknowledge(stream: Stream, offer: Offer) -> None:
    stream.hear(Request(offer.names, offer.nonce))


@asynccontextmanager
async def scene(
    *names: str, owner: FakeOwner | None = None, acknowledge_s: float = 30.0, settle_s: float = 0.0
) -> AsyncIterator[Scene]:
    """One whose gateways were told `names` before."""
    clock, notes, registry = SetClock(), Notes(), CollectorRegistry()
    metrics = EndpointMetrics(registry)
    kept = Told(7, endpoints(*names)) if names else Told()
    streams = Streams(kept, metrics, most=2)
    directory = Directory(
        Listing(kept.endpoints), streams, notes, clock, metrics, acknowledge_s=acknowledge_s
    )
    owner = owner or FakeOwner()
    running = asyncio.create_task(directory.run())
    fleet = LocalFleet(owner, directory, settle_s=settle_s)
    try:
        yield Scene(clock, notes, streams, directory, owner, fleet, metrics, registry)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
