"""Endpoints by Envoy's discovery protocol, over the wire."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from headrace.runtime.channels import open_channel
from headrace.scaling.app import Running, build
from headrace.scaling.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from headrace.scaling.envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from headrace.scaling.envoy.service.endpoint.v3.eds_pb2_grpc import EndpointDiscoveryServiceStub
from headrace.scaling.settings import Settings
from headrace.scaling.streams import MOST_STREAMS
from headrace.scaling.wire import TYPE_URL
from tests.contract.scaling.conftest import KEPT, Credentials

HOT = DiscoveryRequest(resource_names=["inference-hot"], type_url=TYPE_URL)
SOON_S = 10.0


def opened(channel: grpc.aio.Channel, credentials: Credentials = ()) -> Any:
    """A stream."""
    stub: Any = EndpointDiscoveryServiceStub(channel)  # grpc's stubs know no stream that is written to
    return stub.StreamEndpoints(metadata=credentials, timeout=SOON_S)


async def answer(stream: Any, request: DiscoveryRequest) -> DiscoveryResponse:
    """What the request is answered with; an error where the server refuses."""
    await stream.write(request)
    found = await stream.read()
    assert isinstance(found, DiscoveryResponse), f"the stream ended: {await stream.code()}"
    return found


def sockets(response: DiscoveryResponse) -> dict[str, list[str]]:
    """The Unix sockets of each cluster."""
    found = {}
    for resource in response.resources:
        assignment = ClusterLoadAssignment()
        assert resource.Unpack(assignment)
        found[assignment.cluster_name] = [
            one.endpoint.address.pipe.path for place in assignment.endpoints for one in place.lb_endpoints
        ]
    return found


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason in the error's ErrorInfo."""
    trailers = dict(cast("Iterable[tuple[str, bytes]]", error.trailing_metadata()))
    info = ErrorInfo()
    assert Status.FromString(trailers["grpc-status-details-bin"]).details[0].Unpack(info)
    return info.reason


async def refused(stream: Any, request: DiscoveryRequest = HOT) -> tuple[grpc.StatusCode, str]:
    """The code and the reason of a refused stream."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:  # noqa: PT012  # the refusal may come with either
        await stream.write(request)
        await stream.read()
    return caught.value.code(), reason_of(caught.value)


async def test_what_was_told_before_is_told_first(local: grpc.aio.Channel) -> None:
    """Without a supervisor, and with nobody to ask: the list of before, each cluster with its own sockets."""
    both = DiscoveryRequest(resource_names=["inference-hot", "inference-grpc", "another"], type_url=TYPE_URL)
    response = await answer(opened(local), both)
    assert (response.version_info, response.type_url) == (str(KEPT.version), TYPE_URL)
    assert sockets(response) == {
        "inference-hot": ["/r/inference-0.hot", "/r/inference-1.hot"],
        "inference-grpc": ["/r/inference-0.grpc", "/r/inference-1.grpc"],
    }


async def test_an_acknowledgement_is_not_answered(local: grpc.aio.Channel) -> None:
    """Nothing is sent until there is something new, or something else is wanted."""
    stream = opened(local)
    first = await answer(stream, HOT)
    taken = DiscoveryRequest(
        resource_names=HOT.resource_names, response_nonce=first.nonce, version_info=first.version_info
    )
    await stream.write(taken)
    more = DiscoveryRequest(resource_names=["inference-grpc"], response_nonce=first.nonce)
    second = await answer(stream, more)
    assert set(sockets(second)) == {"inference-grpc"}
    assert second.nonce != first.nonce


async def test_a_refusal_is_counted(local: grpc.aio.Channel, scaling: Running) -> None:
    """What a gateway refuses is not sent again at once; the operator sees that it was."""
    stream = opened(local)
    first = await answer(stream, HOT)
    bad = DiscoveryRequest(
        resource_names=HOT.resource_names,
        response_nonce=first.nonce,
        error_detail=Status(code=3, message="malformed"),
    )
    await stream.write(bad)
    await stream.write(DiscoveryRequest(resource_names=["inference-grpc"], response_nonce=first.nonce))
    assert await stream.read()
    count = scaling.telemetry.registry.get_sample_value("headrace_scaling_refused_endpoints_total")
    assert count == 1


@pytest.mark.parametrize(
    "request_",
    [
        DiscoveryRequest(type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster"),
        DiscoveryRequest(resource_names=["x"] * 65),
    ],
)
async def test_bad_requests(local: grpc.aio.Channel, request_: DiscoveryRequest) -> None:
    """Another type, or more names than a gateway has clusters, ends the stream with INVALID_ARGUMENT."""
    assert await refused(opened(local), request_) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")


async def test_streams_are_bounded(local: grpc.aio.Channel) -> None:
    """One too many is refused with UNAVAILABLE; the others go on."""
    streams = [opened(local) for _ in range(MOST_STREAMS)]
    await asyncio.gather(*(answer(stream, HOT) for stream in streams))
    assert await refused(opened(local)) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
    streams[0].cancel()
    await asyncio.gather(*(stream.done_writing() for stream in streams[1:]))


@pytest.mark.parametrize(
    ("scope", "code", "reason"),
    [
        (None, grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
        ("infer observe", grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"),
    ],
)
async def test_default_deny(
    tcp: grpc.aio.Channel,
    token: Callable[[str], Credentials],
    scope: str | None,
    code: grpc.StatusCode,
    reason: str,
) -> None:
    """On the TCP port a token that may operate is needed: whoever listens is waited for before a replica ends."""
    assert await refused(opened(tcp, token(scope) if scope else ())) == (code, reason)


async def test_an_operator_may_listen(tcp: grpc.aio.Channel, token: Callable[[str], Credentials]) -> None:
    """By TCP as well, for an Envoy on another machine."""
    assert sockets(await answer(opened(tcp, token("operate")), HOT))["inference-hot"]


async def test_what_is_not_served(local: grpc.aio.Channel) -> None:
    """Incremental discovery and single fetches are declared by Envoy and not by us: UNIMPLEMENTED."""
    for method in ("FetchEndpoints", "DeltaEndpoints"):
        call = local.unary_unary(
            f"/envoy.service.endpoint.v3.EndpointDiscoveryService/{method}", bytes, bytes
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", timeout=SOON_S)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_end_ends_streams(settings: Settings) -> None:
    """A gateway listens for ever: scaling ends all the same, at once and in order."""
    async with open_channel(f"unix:{settings.socket}") as channel:
        async with build(settings):
            stream = opened(channel)
            await answer(stream, HOT)
        assert await stream.code() is grpc.StatusCode.OK
