"""What a replica tells metering of a request."""

from collections.abc import Mapping

import numpy as np
import pytest

from headrace.inference.execution import Work
from headrace.inference.usage import MAX_KEY_BYTES, Usage
from headrace.metering.client import UsageEvent, UsageKind
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call, Caller
from tests.fakes.neighbours import Recorder, SetClock


def work(number: float = 1.0, rows: int = 1) -> Work:
    return Work(rows, [(rows, 2)], [np.full((rows, 2), number, np.float32).tobytes()])


def call(metadata: Mapping[str, str | bytes] | None = None, tenant: str = "acme") -> Call:
    return Call("/test", metadata or {}, Caller(tenant, frozenset()), 0.0, request_bytes=70)


def usage(recorder: Recorder) -> Usage:
    return Usage(recorder, SetClock(), "linear", "1")


def answered(recorder: Recorder, of: Call) -> UsageEvent:
    usage(recorder).answered(
        of, work(rows=3), UsageKind.EXECUTED, cpu_ns=9, response_bytes=50, stored_bytes=40, stored_ms=1000
    )
    return recorder.events[-1]


def test_an_answer_is_recorded_with_all_that_it_used() -> None:
    """Tenant, model, rows, CPU time, bytes both ways, bytes kept."""
    recorder = Recorder()
    recorder.reserve()
    event = answered(recorder, call({"x-request-id": "r-1"}))
    assert (event.tenant, event.model, event.model_version, event.kind) == (
        "acme",
        "linear",
        "1",
        UsageKind.EXECUTED,
    )
    assert (event.rows, event.cpu_ns, event.request_bytes, event.response_bytes) == (3, 9, 70, 50)
    assert (event.stored_bytes, event.stored_ms, event.code) == (40, 1000, 0)
    assert recorder.reserved == 0


def test_the_clients_key_comes_before_the_edges() -> None:
    """And the two never meet, whatever a client writes into its own."""
    recorder = Recorder()
    edge = answered(recorder, call({"x-request-id": "r-1"}))
    client = answered(recorder, call({"x-request-id": "r-2", "idempotency-key": "r-1"}))
    assert edge.billing_key != client.billing_key
    assert (edge.digest, len(client.digest)) == (b"", 16)
    assert answered(recorder, call()).billing_key == b""


def test_a_client_key_stands_for_one_request() -> None:
    """The same request may come again; another one under the key is refused; another tenant's key is its own."""
    bound = usage(Recorder())
    key = {"idempotency-key": "k"}
    bound.bind(call(key), work(1))
    bound.bind(call(key), work(1))
    bound.bind(call(key, tenant="other"), work(2))
    with pytest.raises(HeadraceError) as refused:
        bound.bind(call(key), work(2))
    assert refused.value.reason == "IDEMPOTENCY_KEY_INVALID"


def test_a_client_keys_digest_is_of_its_model_too() -> None:
    """The same tensors to another model are another request."""
    digests = []
    for model in ("linear", "linear-cached"):
        recorder = Recorder()
        recorded = Usage(recorder, SetClock(), model, "1")
        recorded.unanswered(call({"idempotency-key": "k"}), work(), UsageKind.FAILED, 0)
        digests.append(recorder.events[0].digest)
    assert digests[0] != digests[1]


@pytest.mark.parametrize("key", ["", "k" * (MAX_KEY_BYTES + 1)])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    """Empty, or longer than the ledger keeps."""
    with pytest.raises(HeadraceError) as refused:
        usage(Recorder()).bind(call({"idempotency-key": key}), work())
    assert refused.value.violations[0].field == "idempotency-key"


def test_what_gets_no_answer_is_recorded_too() -> None:
    """In spare room, a full outbox's too: the work is done, and the request's own room was given back."""
    recorder = Recorder(room=0)
    usage(recorder).unanswered(call(), work(), UsageKind.FAILED, 7)
    usage(recorder).unanswered(call(), work(), UsageKind.CANCELLED, 8)
    assert [(event.kind, event.code, event.cpu_ns) for event in recorder.events] == [
        (UsageKind.FAILED, 13, 7),
        (UsageKind.CANCELLED, 1, 8),
    ]
    assert recorder.reserved == 0
