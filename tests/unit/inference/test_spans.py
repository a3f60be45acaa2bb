"""What a trace shows of a look-up in the near-cache."""

import pytest

from headrace.inference.spans import looked_up_near
from headrace.runtime.rpc import Call, Caller
from headrace.runtime.telemetry import quiet

PATH = "/a.B/C"
CALLER = Caller("acme", frozenset())


@pytest.mark.parametrize("kept", [b"answer", None])
def test_a_look_up_is_a_child_of_the_call(kept: bytes | None) -> None:
    """Its span tells whether the answer was there, and the answer is what the near-cache said."""
    telemetry, exporter = quiet()
    span, _ = telemetry.begin(PATH, None)
    call = Call(PATH, {}, CALLER, 0.0, span=span)
    assert looked_up_near(telemetry.tracer, call, {b"key": kept}.get, b"key") == kept
    (found,) = exporter.get_finished_spans()
    assert found.name == "near-cache"
    assert found.parent == span.get_span_context()
    assert found.attributes == {"headrace.cache.hit": kept is not None}


def test_a_call_that_is_not_sampled_leaves_no_span() -> None:
    """The look-up is the same, and nothing is recorded."""
    telemetry, exporter = quiet()
    call = Call(PATH, {}, CALLER, 0.0)
    assert looked_up_near(telemetry.tracer, call, {b"key": b"answer"}.get, b"key") == b"answer"
    assert not exporter.get_finished_spans()
