"""Who is told of the end of every call, whichever transport carried it."""

from typing import Protocol

from headrace.runtime.rpc import Call


class CallEnds(Protocol):
    """Hears of calls that have ended. Called on the event loop, once for each call, refused ones too."""

    def ended(self, call: Call, code: int, reason: str, now: float) -> None:
        """`code` is gRPC's number, `reason` the error's or empty, `now` monotonic seconds. Must be quick."""
        ...


class Unrecorded:
    """Forgets them."""

    def ended(self, call: Call, code: int, reason: str, now: float) -> None:
        """Does nothing."""


UNRECORDED = Unrecorded()
