"""Where the gateway finds its replicas: asked of scaling, or in files where no scaling runs.

Files are for a gateway on its own (a fixed list of replicas, a test, a
benchmark); the mesh's gateway asks scaling.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HOT, GRPC = "inference-hot", "inference-grpc"
"""The clusters of the replicas: their hot ingress, their grpc.aio server."""

SCALING = {
    "resource_api_version": "V3",
    # Scaling answers when replicas serve, or after five seconds if none does. Without
    # it the gateway opens after this time, and refuses with UNAVAILABLE.
    "initial_fetch_timeout": "15s",
    "api_config_source": {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [
            {
                "envoy_grpc": {
                    "cluster_name": "scaling",
                    # A scaling that was started again is found in a second; the
                    # default grows to thirty.
                    "retry_policy": {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}},
                }
            }
        ],
    },
}
"""Envoy's source of endpoints: `EndpointDiscoveryService`, by the static cluster `scaling`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A replica as the gateway reaches it: its name and its two sockets.

    `hot_socket` is None where nothing is sent to its hot ingress.
    """

    name: str
    hot_socket: Path | None
    grpc_socket: Path

    def socket(self, cluster: str) -> Path | None:
        """Where `cluster` reaches it."""
        return self.hot_socket if cluster == HOT else self.grpc_socket


def files(config_dir: Path) -> dict[str, Path]:
    """The file of each cluster: Envoy takes one cluster per file."""
    return {cluster: config_dir / f"eds-{cluster}.yaml" for cluster in (HOT, GRPC)}


def from_file(path: Path) -> dict[str, object]:
    """Envoy's source of endpoints: a file that is replaced, never written in place."""
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def write_files(config_dir: Path, replicas: Sequence[Endpoint], version: str) -> None:
    """Tells a gateway that reads files its replicas, by renames: it never sees half a file."""
    for cluster, path in files(config_dir).items():
        beside = path.with_name(path.name + ".new")
        beside.write_text(assignment(cluster, replicas, version))
        beside.replace(path)


def assignment(cluster: str, replicas: Sequence[Endpoint], version: str) -> str:
    """The file of `cluster`. Envoy shows `version` once it has taken it."""
    sockets = [(replica.name, socket) for replica in replicas if (socket := replica.socket(cluster))]
    lb_endpoints = [
        {"endpoint": {"hostname": name, "address": {"pipe": {"path": str(socket)}}}}
        for name, socket in sockets
    ]
    resource = {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": lb_endpoints}] if lb_endpoints else [],
    }
    return json.dumps({"version_info": version, "resources": [resource]}, indent=1) + "\n"
