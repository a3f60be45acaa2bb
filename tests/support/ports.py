"""A port for a server that can't tell which one it took."""

import socket


def free_port() -> int:
    """A port of loopback that nobody listens on, and that the kernel gives to nobody else soon."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
