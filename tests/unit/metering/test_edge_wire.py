"""What is taken over of Envoy's entries, and what is not."""

from headrace.metering.core.edge import Ended
from headrace.metering.core.joining import Entry
from headrace.metering.edge_wire import entries_of, lines_of
from headrace.metering.envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from tests.fakes.edge import NOON_S, exported, line, logged, message


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


def test_both_forms_say_the_same() -> None:
    """Line by line, entry by entry."""
    requests: list[dict[str, str]] = [
        {"request_id": "r1"},
        {"request_id": "r2", "status": "8", "client_key": "k"},
        {"request_id": "", "status": "", "tenant": "", "details": "http2.remote_reset"},
        {"request_id": "r4", "route": "rest-infer"},
    ]
    lines = lines_of(exported(*(line(**one) for one in requests)))
    assert lines.entries == list(entries_of(message(*(logged(**one) for one in requests))))
    assert lines.refused == 0


def test_what_is_no_line_is_told() -> None:
    """With the reason; its neighbours are read."""
    lines = lines_of(exported("hello", line("r1"), "", line("r2")))
    assert [entry.request_id for entry in lines.entries] == ["r1", "r2"]
    assert (lines.refused, lines.problem) == (2, "expected 12 fields, got 1")


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
