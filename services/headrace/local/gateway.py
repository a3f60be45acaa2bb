"""Envoy's configuration: rendered from a template, its endpoints apart (`endpoints`).

Pure but for `write`: what is rendered depends on the settings alone. Starting
Envoy is the supervisor's work.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from textwrap import indent
from typing import Literal

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2

from headrace.inference.v1 import open_ai_service_pb2, rest_control_service_pb2, rest_service_pb2
from headrace.local import endpoints
from headrace.local.access_log import access_logs
from headrace.local.endpoints import GRPC, HOT

MIB = 1 << 20
REST_ROOM_BYTES = 64 * 1024
"""What the bridge adds to a body: names from the path, which Envoy bounds at 60 KiB."""

REST = (rest_service_pb2, rest_control_service_pb2, open_ai_service_pb2)
"""The contracts that the transcoder gives HTTP clients."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What differs between one gateway and another.

    `run_dir` holds the sockets, `config_dir` the files that `write` makes.
    `endpoints_from` says who tells the replicas: scaling, on its socket, or the
    files of `endpoints.write_files`. Rates are per second and also the burst. A request
    without a deadline ends after `max_deadline_s`, as does one with a later one.
    A connection may give up `max_resets` calls a second, and ten seconds' worth at once.
    `access_log` is a file, None for no such log; `metered` says whether metering gets one.
    """

    run_dir: Path
    config_dir: Path
    host: str = "127.0.0.1"
    port: int = 8080
    hot_path: Literal["h1", "h2"] = "h1"
    sample_ratio: float = 1.0
    cors_origins: tuple[str, ...] = ()
    tenant_rate: int = 20_000
    address_rate: int = 50_000
    max_resets: int = 1_000
    max_tenants: int = 10_000
    max_addresses: int = 100_000
    max_tokens: int = 10_000
    max_message_bytes: int = 64 * MIB
    max_deadline_s: float = 30.0
    max_connections: int = 10_000
    max_in_flight: int = 16_384
    max_heap_bytes: int = 2048 * MIB
    access_log: Path | None = None
    metered: bool = True
    concurrency: int = 1
    endpoints_from: Literal["scaling", "files"] = "scaling"

    @property
    def max_rest_body_bytes(self) -> int:
        """A longer body gets 413 here, before its message would be too long for a replica."""
        return self.max_message_bytes - REST_ROOM_BYTES

    @property
    def config_file(self) -> Path:
        return self.config_dir / "envoy.yaml"

    @property
    def admin_socket(self) -> Path:
        return self.run_dir / "envoy-admin.sock"

    @property
    def insight_socket(self) -> Path:
        return self.run_dir / "insight.grpc.sock"

    @property
    def metering_socket(self) -> Path:
        return self.run_dir / "metering.grpc.sock"

    @property
    def jwks_socket(self) -> Path:
        return self.run_dir / "jwks.sock"

    @property
    def scaling_socket(self) -> Path:
        return self.run_dir / "scaling.grpc.sock"


REFERENCE = GatewaySettings(Path(".headrace/run"), Path(".headrace/envoy"))
"""What gateway/envoy.yaml is rendered with: every default."""


def render(settings: GatewaySettings) -> str:
    """envoy.yaml."""
    return Template(_package_text("envoy.yaml.in")).substitute(_values(settings))


def descriptor_set() -> bytes:
    """What the transcoder must know: the REST contracts, and error details."""
    found: dict[str, FileDescriptor] = {}
    for root in (*REST, status_pb2, error_details_pb2):
        for descriptor in _with_dependencies(root.DESCRIPTOR):
            found.setdefault(descriptor.name, descriptor)
    files_of = FileDescriptorSet()
    for descriptor in found.values():
        descriptor.CopyToProto(files_of.file.add())
    return files_of.SerializeToString()


ENVIRONMENT = {
    # Envoy's allocator has caches per processor only where glibc leaves it the
    # kernel's restartable sequences: 5 % less time for a request.
    "GLIBC_TUNABLES": "glibc.pthread.rseq=0",
}
"""What Envoy's process wants besides the environment of its parent."""


def command(envoy: Path, settings: GatewaySettings) -> list[str]:
    """The command that runs the gateway, in the foreground, logging on stderr."""
    return [
        str(envoy),
        "--config-path",
        str(settings.config_file),
        "--concurrency",
        str(settings.concurrency),
        # Its shared memory would let only one Envoy run on a machine.
        "--disable-hot-restart",
        "--log-level",
        "warning",
        "--drain-time-s",
        "5",
        # The access log's, 10 s by default.
        "--file-flush-interval-msec",
        "1000",
    ]


def write(settings: GatewaySettings) -> None:
    """Writes all that Envoy reads at its start, but for endpoints in files: those are somebody else's."""
    settings.config_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    _replace(settings.config_dir / "rest.pb", descriptor_set())
    _replace(settings.config_file, render(settings).encode())


def _values(settings: GatewaySettings) -> Mapping[str, str]:
    """The template's placeholders. JSON is YAML, and quotes whatever it must."""
    values: Mapping[str, object] = {
        "host": settings.host,
        "port": settings.port,
        "admin_socket": str(settings.admin_socket),
        "insight_socket": str(settings.insight_socket),
        "jwks_socket": str(settings.jwks_socket),
        "descriptors": str(settings.config_dir / "rest.pb"),
        "scaling_socket": str(settings.scaling_socket),
        "hot_endpoints": _endpoints(settings, HOT),
        "grpc_endpoints": _endpoints(settings, GRPC),
        "hot_cluster": HOT if settings.hot_path == "h1" else GRPC,
        "sample_millionths": round(settings.sample_ratio * 1_000_000),
        "cors_origins": [{"exact": origin} for origin in settings.cors_origins],
        "access_log": access_logs(settings.access_log, metered=settings.metered),
        "metering_socket": str(settings.metering_socket),
        "tenant_rate": settings.tenant_rate,
        "address_rate": settings.address_rate,
        "max_resets": settings.max_resets,
        "max_resets_at_once": 10 * settings.max_resets,
        "max_tenants": settings.max_tenants,
        "max_addresses": settings.max_addresses,
        "max_tokens": settings.max_tokens,
        "max_rest_body_bytes": settings.max_rest_body_bytes,
        "max_message_bytes": settings.max_message_bytes,
        "max_deadline": f"{settings.max_deadline_s:g}s",
        "max_connections": settings.max_connections,
        "max_in_flight": settings.max_in_flight,
        "max_heap_bytes": settings.max_heap_bytes,
    }
    texts = {key: json.dumps(value) for key, value in values.items()}
    return {**texts, "rest_errors": indent(_package_text("rest_errors.lua").rstrip(), " " * 18)}


def _endpoints(settings: GatewaySettings, cluster: str) -> Mapping[str, object]:
    if settings.endpoints_from == "scaling":
        return endpoints.SCALING
    return endpoints.from_file(endpoints.files(settings.config_dir)[cluster])


def _with_dependencies(descriptor: FileDescriptor) -> Iterator[FileDescriptor]:
    """Dependencies first, as a FileDescriptorSet wants them."""
    for dependency in descriptor.dependencies:
        yield from _with_dependencies(dependency)
    yield descriptor


def _package_text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    beside.replace(path)


if __name__ == "__main__":
    sys.stdout.write(render(REFERENCE))
