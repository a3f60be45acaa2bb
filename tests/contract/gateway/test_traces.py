"""The gateway's span: begun at the edge, handed on, sent to insight."""

from pathlib import Path

import pytest

from headrace.local.gateway import GatewaySettings
from tests.contract.gateway.edge import Edge, edge_of
from tests.support.waiting import eventually

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def upstream(edge: Edge, headers: dict[str, str]) -> list[str]:
    """The four parts of the traceparent that the replica saw."""
    edge.replica.seen.clear()
    with edge.http() as http:
        assert http.get("/v2", headers={**edge.bearer(), **headers}).status_code == 200
    (traceparent,) = edge.replica.seen[0].values("traceparent")
    return traceparent.split("-")


@pytest.mark.parametrize("flag", ["00", "01"])
def test_the_clients_trace_goes_on_through_the_gateway(edge: Edge, flag: str) -> None:
    """Same trace, the gateway's span between: its parent is the client's. All are sampled at ratio 1."""
    _, trace_id, span_id, sampled = upstream(edge, {"traceparent": f"00-{TRACE}-{PARENT}-{flag}"})
    assert (trace_id, sampled) == (TRACE, "01")
    spans = edge.grpc_side.spans
    found = {"service": "gateway", "trace_id": TRACE, "span_id": span_id, "parent": PARENT}
    eventually(lambda: found in spans, "the span is exported")


def test_a_trace_begins_at_the_gateway(edge: Edge) -> None:
    """Without a client's trace the gateway's span is the root."""
    _, trace_id, span_id, _ = upstream(edge, {})
    found = {"service": "gateway", "trace_id": trace_id, "span_id": span_id, "parent": ""}
    eventually(lambda: found in edge.grpc_side.spans, "the span is exported")


def test_no_client_can_force_a_trace() -> None:
    """At ratio 0 neither a sampled flag nor Envoy's own headers make a trace."""
    with edge_of(GatewaySettings(Path(), Path(), sample_ratio=0.0)) as edge:
        forcing = {
            "traceparent": f"00-{TRACE}-{PARENT}-01",
            "x-envoy-force-trace": "1",
            "x-client-trace-id": "1",
            "x-request-id": "00000000-0000-a000-8000-000000000000",
        }
        assert upstream(edge, forcing)[3] == "00"
        assert upstream(edge, {})[3] == "00"


def test_about_the_ratio_is_sampled() -> None:
    """The trace ids decide, so the share of sampled traces is the ratio."""
    with edge_of(GatewaySettings(Path(), Path(), sample_ratio=0.25)) as edge:
        sampled = sum(upstream(edge, {})[3] == "01" for _ in range(400))
    assert 50 <= sampled <= 150
