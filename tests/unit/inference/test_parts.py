"""One of several requests that came in one call."""

from headrace.inference.parts import part_of, told_of
from headrace.runtime.rpc import Call, Caller


def test_each_part_has_a_billing_key_of_its_own() -> None:
    """The first has the call's: a client that repeats the call repeats the keys; nothing else is changed."""
    metadata = {"x-request-id": "r", "idempotency-key": "k", "traceparent": "t"}
    call = Call(
        "/a/b", metadata, Caller("acme", frozenset()), 1.0, 9.0, trailing=[("a", "b")], progress=object()
    )
    parts = [part_of(call, number, 2.0, 7) for number in range(3)]
    assert [part.metadata["x-request-id"] for part in parts] == ["r", "r/1", "r/2"]
    assert [part.metadata["idempotency-key"] for part in parts] == ["k", "k/1", "k/2"]
    assert {part.metadata["traceparent"] for part in parts} == {"t"}
    (one,) = {(part.caller, part.arrived, part.deadline, part.request_bytes) for part in parts}
    assert one == (call.caller, 2.0, 9.0, 7)
    assert [(part.trailing, part.progress) for part in parts] == [([], None)] * 3
    assert call.metadata == metadata


def test_a_call_without_keys_has_parts_without_keys() -> None:
    """Each is then one charge by itself."""
    part = part_of(Call("/a/b", {}, Caller("acme", frozenset()), 1.0), 1, 2.0, 0)
    assert part.metadata == {}


def test_an_answer_to_all_parts_tells_their_cost_in_all() -> None:
    """To the nano-unit; nothing where one part's is not known: it would look cheaper than it is."""
    call = Call("/a/b", {}, Caller("acme", frozenset()), 1.0)
    parts = [part_of(call, number, 2.0, 0) for number in range(3)]
    for number, part in enumerate(parts):
        part.trailing += [
            ("headrace-trace-id", f"t{number}"),
            ("headrace-cost-nanos", "7"),
            ("headrace-currency", "USD"),
        ]
    assert told_of(parts) == [
        ("headrace-trace-id", "t0"),
        ("headrace-cost-nanos", "21"),
        ("headrace-currency", "USD"),
    ]
    parts[1].trailing.clear()
    assert told_of(parts) == [("headrace-trace-id", "t0")]
