"""Between the discovery protocol's messages and the core's values."""

from google.protobuf.any_pb2 import Any

from headrace.scaling.core.listing import Endpoint
from headrace.scaling.core.subscription import Offer, Request
from headrace.scaling.envoy.config.core.v3.address_pb2 import Address, Pipe
from headrace.scaling.envoy.config.endpoint.v3 import endpoint_components_pb2 as components
from headrace.scaling.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from headrace.scaling.envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from headrace.scaling.errors import field_invalid
from headrace.scaling.kept import Told

TYPE_URL = f"type.googleapis.com/{ClusterLoadAssignment.DESCRIPTOR.full_name}"
MOST_NAMES = 64
HOT, GRPC = "inference-hot", "inference-grpc"
"""The gateway's clusters: the replicas' hot ingress, their grpc.aio server."""


def request_of(message: DiscoveryRequest) -> Request:
    """The core's request; raises FIELD_INVALID."""
    if message.type_url not in ("", TYPE_URL):  # empty is the service's own type
        raise field_invalid("type_url", f"must be {TYPE_URL}")
    if len(message.resource_names) > MOST_NAMES:
        raise field_invalid("resource_names", f"must be at most {MOST_NAMES}")
    return Request(
        frozenset(message.resource_names), message.response_nonce, message.HasField("error_detail")
    )


def response_message(offer: Offer, told: Told) -> DiscoveryResponse:
    """The response; clusters that are not ours are left out, which says nothing of them."""
    response = DiscoveryResponse(version_info=str(offer.version), nonce=offer.nonce, type_url=TYPE_URL)
    for cluster in (HOT, GRPC):
        if cluster in offer.names:
            packed = Any()
            packed.Pack(_assignment(cluster, told), deterministic=True)
            response.resources.append(packed)
    return response


def _assignment(cluster: str, told: Told) -> ClusterLoadAssignment:
    listed = [
        components.LbEndpoint(
            endpoint=components.Endpoint(hostname=endpoint.name, address=Address(pipe=Pipe(path=path)))
        )
        for endpoint in told.endpoints or ()
        if (path := _socket(cluster, endpoint))
    ]
    assignment = ClusterLoadAssignment(cluster_name=cluster)
    if listed:
        assignment.endpoints.append(components.LocalityLbEndpoints(lb_endpoints=listed))
    return assignment


def _socket(cluster: str, endpoint: Endpoint) -> str:
    return endpoint.hot_socket if cluster == HOT else endpoint.grpc_socket
