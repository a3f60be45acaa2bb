"""The gateways that listen: each is told the newest list, and each one's acknowledgement is waited for."""

import asyncio

import structlog

from headrace.scaling.core.subscription import Offer, Request, Subscription
from headrace.scaling.errors import too_many_streams
from headrace.scaling.kept import Told
from headrace.scaling.metrics import EndpointMetrics

MOST_STREAMS = 64

log = structlog.get_logger()


class Stream:
    """One open stream."""

    def __init__(self, streams: "Streams") -> None:
        self._streams = streams
        self._subscription = Subscription()
        self._news = asyncio.Event()
        self._ended = False

    def hear(self, request: Request) -> str:
        """A request came; tells the version that it refuses, empty when it refuses none."""
        before = self._subscription.refused
        self._subscription.hear(request)
        self.wake()
        self._streams.heard()
        refused = self._subscription.refused
        return str(refused) if refused != before else ""

    async def next(self) -> tuple[Offer, Told] | None:
        """What to send, once there is something; None when the stream is to end."""
        while not self._ended:
            told = self._streams.told
            version = None if told.endpoints is None else told.version
            if offer := self._subscription.next(version):
                return offer, told
            self._news.clear()
            await self._news.wait()
        return None

    def knows(self, version: int) -> bool:
        """Whether its gateway has taken `version`."""
        return self._subscription.knows(version)

    def wake(self) -> None:
        """There may be something to send."""
        self._news.set()

    def end(self) -> None:
        """Nothing more is sent."""
        self._ended = True
        self._news.set()


class Streams:
    """All of them, and what they are told. `told` is replaced by `tell` alone."""

    def __init__(self, told: Told, metrics: EndpointMetrics, *, most: int = MOST_STREAMS) -> None:
        self.told = told
        self._metrics = metrics
        self._most = most
        self._open: set[Stream] = set()
        self._heard = asyncio.Event()

    def open(self) -> Stream:
        """A new stream; raises OVERLOADED."""
        if len(self._open) >= self._most:
            raise too_many_streams(self._most)
        stream = Stream(self)
        self._open.add(stream)
        self._metrics.streams.set(len(self._open))
        return stream

    def close(self, stream: Stream) -> None:
        """The stream is over: nobody waits for its acknowledgement any more."""
        self._open.discard(stream)
        self._metrics.streams.set(len(self._open))
        self.heard()

    def tell(self, told: Told) -> None:
        """Every gateway is to know this."""
        self.told = told
        self._metrics.listed.set(len(told.endpoints or ()))
        for stream in self._open:
            stream.wake()

    def heard(self) -> None:
        """A gateway has answered."""
        self._heard.set()

    async def acknowledged(self, version: int) -> None:
        """Waits until every open stream knows `version`; the caller bounds it."""
        while not all(stream.knows(version) for stream in self._open):
            self._heard.clear()
            await self._heard.wait()

    def end(self) -> None:
        """Ends every stream, so that the server need not wait for them."""
        for stream in self._open:
            stream.end()
