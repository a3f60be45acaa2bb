"""A process that is to run, and whether its ports are free."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.local.endpoints import Endpoint
from headrace.local.errors import StartFault
from headrace.local.ports import holder, is_free


@dataclass(frozen=True, slots=True)
class Spec:
    """One process: what to start, and where it will be.

    `ports` are those that must be free, `port_key` is the key of headrace.yaml
    that sets the first of them; `endpoint` is set for replicas only. `web` is where
    its page is, if it has one.
    """

    name: str
    service: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    address: str
    ports: tuple[int, ...]
    port_key: str
    log: Path
    endpoint: Endpoint | None = None
    web: str = ""

    def key_of(self, port: int) -> str:
        """The key of headrace.yaml that moves one of the ports."""
        return "insight.web_port" if self.web.endswith(f":{port}/") else self.port_key


def check_ports(specs: Sequence[Spec]) -> None:
    """Raises StartFault for the first port that is taken."""
    for spec in specs:
        for port in spec.ports:
            if not is_free(port):
                raise StartFault(
                    f"{spec.name} can't listen on port {port}",
                    f"it is held by {holder(port)}",
                    f"stop that process, use `--port 0` for free ports, or set {spec.key_of(port)} in headrace.yaml",
                )
