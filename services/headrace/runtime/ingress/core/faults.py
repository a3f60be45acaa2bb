"""What is wrong with a request on the wire, as the pure parts say it."""

from collections.abc import Mapping


class WireFault(Exception):
    """A request that can't be served; `reason` is one of the runtime's ErrorReason.

    The shell turns it into a `HeadraceError` (which knows grpc, so the core may not).
    """

    def __init__(self, reason: str, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata: Mapping[str, str] = metadata
