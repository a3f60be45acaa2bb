"""Refusals as a real gRPC client sees them, beside a load: whether they say when to come again."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status

from bench.frames import minilm_request
from bench.target import MODEL_INFER, Target

PAUSE_S = 0.05
REFUSALS = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)


@dataclass(slots=True)
class Probes:
    """How many calls were sent, refused, and refused with a RetryInfo."""

    sent: int = 0
    refused: int = 0
    hinted: int = 0


def refusals(target: Target, source: Iterator[str], deadline_s: float, until: Callable[[], bool]) -> Probes:
    """Sends one text of `source` after another, each with the deadline, until `until` says so."""
    probes = Probes()
    metadata = (("authorization", f"Bearer {target.token}"),)
    options = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
    with grpc.insecure_channel(f"127.0.0.1:{target.port}", options) as channel:
        infer = channel.unary_unary(MODEL_INFER, request_serializer=None, response_deserializer=None)
        while not until():
            probes.sent += 1
            try:
                infer(minilm_request(next(source)).SerializeToString(), metadata=metadata, timeout=deadline_s)
            except grpc.RpcError as error:
                call = cast(
                    "grpc.Call", error
                )  # grpc.RpcError declares nothing; what is raised is a Call too
                if call.code() in REFUSALS:
                    probes.refused += 1
                    status = rpc_status.from_call(call)
                    details = status.details if status else ()
                    probes.hinted += any(detail.Is(RetryInfo.DESCRIPTOR) for detail in details)
            time.sleep(PAUSE_S)
    return probes
