"""The hot ingress's bounds; every one has a default that holds on a laptop."""

from dataclasses import dataclass

from headrace.runtime.ingress.core.framing import PREFIX_BYTES


@dataclass(frozen=True, slots=True)
class IngressLimits:
    """How much a connection, and all connections together, may hold.

    `max_message_bytes` counts a message without its prefix, before and after
    inflating. `budget_bytes` bounds the bodies of all requests that are being
    read or served; who finds it spent waits `budget_wait_s` at most.
    `max_header_bytes` bounds all of a request that is not its message.
    `read_timeout_s` is how long a request may take to arrive once begun (an
    idle connection may be so for ever). `linger_s`: how long what comes behind
    a request that was refused unread is still taken and dropped.
    """

    max_message_bytes: int = 16 * 2**20
    budget_bytes: int = 256 * 2**20
    budget_wait_s: float = 1.0
    max_headers: int = 100
    max_header_bytes: int = 64 * 2**10
    read_timeout_s: float = 30.0
    linger_s: float = 1.0
    write_buffer_bytes: int = 64 * 2**10
    backlog: int = 4096

    def __post_init__(self) -> None:
        if self.budget_bytes < self.max_message_bytes + PREFIX_BYTES:
            raise ValueError("budget_bytes must hold the longest message, or it could never be read")
