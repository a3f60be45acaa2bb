"""Client channels to other Headrace services."""

import grpc

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

Credentials = tuple[tuple[str, str], ...]
"""Call metadata that tells who calls."""


def open_channel(target: str) -> grpc.aio.Channel:
    """A channel to `host:port` or `unix:/path`; its owner closes it.

    Retries are off: the gateway retries, and a second layer would multiply.
    Every call on it needs a timeout (`deadline_s` of our clients).
    """
    return grpc.aio.insecure_channel(
        target,
        options=[
            ("grpc.enable_retries", 0),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            # A restarted service is found again in a second, not in a minute.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ],
    )


def bearer(token: str) -> Credentials:
    """The call metadata that carries a token."""
    return (("authorization", f"Bearer {token}"),)
