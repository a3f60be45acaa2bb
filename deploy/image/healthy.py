"""Whether this container's process can take work: exit status 0 if so, 1 if not.

`healthy.py` asks the service whose HEADRACE_<SERVICE>_LISTEN is set, by gRPC
health; `healthy.py SOCKET PATH` asks for `PATH` by HTTP on a Unix socket.
"""

import http.client
import os
import re
import socket
import sys
from collections.abc import Mapping

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 3.0
LISTEN = re.compile(r"HEADRACE_[A-Z]+_LISTEN")


def target(environ: Mapping[str, str]) -> str:
    """Where the one service of this environment listens, as seen from its own container."""
    found = [value for name, value in environ.items() if LISTEN.fullmatch(name)]
    if len(found) != 1:
        raise ValueError(f"{len(found)} HEADRACE_<SERVICE>_LISTEN are set: this needs exactly one")
    return f"127.0.0.1:{found[0].rpartition(':')[2]}"


def serving(address: str) -> bool:
    """Whether the server at `host:port` says that it serves."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S
            )
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def answering(path: str, target_path: str) -> bool:
    """Whether a GET on the Unix socket `path` is answered with 200."""
    connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT_S)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as opened:
        opened.settimeout(TIMEOUT_S)
        try:
            opened.connect(path)
            connection.sock = opened
            connection.request("GET", target_path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """The exit status."""
    if arguments:
        return int(not answering(arguments[0], arguments[1]))
    return int(not serving(target(environ)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))  # noqa: TID251 - where this process begins
