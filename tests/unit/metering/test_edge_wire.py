"""What is taken over of Envoy's entries, and what is not."""

from headrace.metering.core.edge import Ended
from headrace.metering.core.joining import Entry
from headrace.metering.edge_wire import entries_of
from headrace.metering.envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from tests.fakes.edge import NOON_S, logged, message


def test_an_answered_request_is_read() -> None:
    """In the minute in which it began."""
    (entry,) = entries_of(message(logged("r1")))
    assert entry == Entry(NOON_S, "infer", "acme", "r1", None, None, 400, 105, 130, 105)


def test_any_other_tells_how_it_ended() -> None:
    """gRPC's status from a header where there was no answer; none at all where nothing came."""
    refused, gone, broken = entries_of(
        message(
            logged("r1", status="8", client_key="k"),
            logged("r2", status="", tenant="", details="http2.remote_reset"),
            logged("r3", details="upstream_reset_after_response_started{connection_termination}"),
        )
    )
    assert (refused.ended, refused.client_key) == (Ended("via_upstream", "8", 200, tenant=True), "k")
    assert (gone.ended, gone.tenant) == (Ended("http2.remote_reset", "", 200, tenant=False), "")
    assert broken.ended is not None


def test_no_path_is_taken_over() -> None:
    """Whatever a client writes into it."""
    (entry,) = entries_of(message(logged("r1", path="/v2/models/x?token=secret")))
    assert "secret" not in repr(entry)


def test_unknown_fields_are_skipped() -> None:
    """Envoy sends many more than we read, and a kind of entry that we don't."""
    sent = message(logged("r1")).SerializeToString()
    tcp = b"\x1a\x02\x0a\x00"  # field 3, TCPAccessLogEntries with one entry
    assert [
        one.request_id for one in entries_of(StreamAccessLogsMessage.FromString(sent + b"\xfa\x07\x01x"))
    ] == ["r1"]
    assert list(entries_of(StreamAccessLogsMessage.FromString(tcp))) == []
