"""Two ways to ask a mesh, gRPC and REST: what is sent, and what its caller is told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import grpc
import httpx
import numpy as np

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from tests.chaos.history import Acknowledged, History, Invoked, Refused
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, bearer
from tests.support.metered import Tenant, rest_body
from tests.support.requests import linear, output, slow

CONNECT_RETRIES = 6
"""Over half a minute; before a connection stands nothing has been sent."""

_AGAIN_MS = 100
_CODES = {429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


class Ask(NamedTuple):
    """One request, and what is right to answer. `steps` are those of the model `slow`, 0 for any other."""

    model: str
    row: list[float]
    right: list[float]
    steps: int = 0

    def message(self, request_id: str) -> ModelInferRequest:
        """As gRPC sends it."""
        if self.steps:
            request = slow(self.steps, self.row[0])
            request.id = request_id
            return request
        return linear(np.array([self.row], np.float32), request_id, self.model)

    @property
    def answers(self) -> str:
        """The name of the output."""
        return "rows_out" if self.steps else "y"


class Sending(NamedTuple):
    """A request as it is written down, what it asks, and whose it is."""

    call: Invoked
    ask: Ask
    tenant: Tenant

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Its token, and its idempotency key if it has one."""
        key = (("idempotency-key", self.call.key),) if self.call.key else ()
        return (*bearer(self.tenant.token), *key)


Ending = Acknowledged | Refused
Send = Callable[[Sending], Callable[[], Ending]]
"""Sends, and says how to wait for the ending."""


@contextmanager
def by_grpc(mesh: Mesh, history: History, *, patient: bool) -> Iterator[Send]:
    """A connection, that is tried again soon after it is lost; no call is sent twice.

    Who is `patient` waits while there is none, others are refused. A call that has not left
    when its connection is ended goes on the next one for the patient, as gRPC does by itself.
    """
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", int(patient)),
        ("grpc.initial_reconnect_backoff_ms", _AGAIN_MS),
        ("grpc.min_reconnect_backoff_ms", _AGAIN_MS),
        ("grpc.max_reconnect_backoff_ms", _AGAIN_MS),
    ]
    with grpc.insecure_channel(mesh.gateway, options) as channel:
        stub = GRPCInferenceServiceStub(channel)

        def send(sending: Sending) -> Callable[[], Ending]:
            message = sending.ask.message(str(sending.call.call))
            future = stub.ModelInfer.future(
                message, timeout=CALL_TIMEOUT_S, metadata=sending.headers, wait_for_ready=patient
            )
            return partial(_heard, history, sending, future)

        yield send


def _heard(history: History, sending: Sending, future: "grpc.CallFuture[ModelInferResponse]") -> Ending:
    number = sending.call.call
    try:
        message = future.result()
    except grpc.RpcError:
        request_id = _told(future).get("x-request-id", "")
        return Refused(history.now, number, future.code().name, future.details() or "", request_id)
    answer = output(message, sending.ask.answers).ravel().tolist()
    return _acknowledged(history, number, answer, message.id, _told(future).get)


@contextmanager
def by_rest(mesh: Mesh, history: History, *, patient: bool) -> Iterator[Send]:
    """A connection for each call: one that is kept fails when the gateway closes it, not when it can't answer."""
    each = httpx.Limits(max_keepalive_connections=0)
    transport = httpx.HTTPTransport(limits=each, retries=CONNECT_RETRIES if patient else 0)
    with httpx.Client(base_url=mesh.url, timeout=CALL_TIMEOUT_S, transport=transport) as client:

        def send(sending: Sending) -> Callable[[], Ending]:
            ending = _posted(history, client, sending, again=patient)
            return lambda: ending

        yield send


def _posted(history: History, client: httpx.Client, sending: Sending, *, again: bool) -> Ending:
    """Its answer; put once more, if `again`, where the connection was taken away before there was one.

    Who closes a listening socket resets the connections that it has not accepted yet. A gRPC client connects anew by
    itself. Had the first been taken all the same, the ledger would have it twice, and the checker say so.
    """
    number = sending.call.call
    body = {**rest_body(sending.ask.row), "id": str(number)}
    try:
        response = client.post(
            f"/v2/models/{sending.ask.model}/infer", json=body, headers=dict(sending.headers)
        )
    except httpx.TransportError as error:
        if again and isinstance(error, httpx.ReadError):
            return _posted(history, client, sending, again=False)
        return Refused(history.now, number, "UNAVAILABLE", repr(error), "")
    if response.status_code != 200:
        code = _CODES.get(response.status_code, f"HTTP {response.status_code}")
        request_id = response.headers.get("x-request-id", "")
        return Refused(history.now, number, code, response.text[:200], request_id)
    document = response.json()
    answer = document["outputs"][0]["data"]
    return _acknowledged(history, number, answer, document["id"], response.headers.get)


def _acknowledged(
    history: History, number: int, answer: list[float], echoed: str, told: Callable[[str], str | None]
) -> Acknowledged:
    cost = told("headrace-cost-nanos")
    return Acknowledged(
        history.now,
        number,
        answer,
        echoed,
        None if cost is None else int(cost),
        told("x-request-id") or "",
        told("headrace-cache") or "",
        told("headrace-replica") or "",
    )


def _told(future: "grpc.CallFuture[ModelInferResponse]") -> dict[str, str]:
    metadata = (*(future.initial_metadata() or ()), *(future.trailing_metadata() or ()))
    return {key: str(value) for key, value in metadata}
