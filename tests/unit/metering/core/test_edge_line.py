"""What Envoy's line of a request says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.metering.core.edge import Ended
from headrace.metering.core.edge_line import EDGE_LINE, FIELDS, SEPARATOR, read_line
from headrace.metering.core.joining import Entry
from tests.fakes.edge import NOON_S, line

HEADER_VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1)


def test_an_answered_request_is_read() -> None:
    """In the minute in which it began."""
    assert read_line(line("r1"), NOON_S + 7) == Entry(
        NOON_S, "infer", "acme", "r1", None, None, 400, 105, 130, 105
    )


def test_any_other_tells_how_it_ended() -> None:
    """gRPC's status from a header where there was no answer; none at all where nothing came."""
    refused = read_line(line("r1", status="8", client_key="k"), NOON_S)
    assert (refused.ended, refused.client_key) == (Ended("via_upstream", "8", 200, tenant=True), "k")
    gone = read_line(line("r2", status="", tenant="", details="http2.remote_reset"), NOON_S)
    assert (gone.ended, gone.tenant) == (Ended("http2.remote_reset", "", 200, tenant=False), "")
    broken = read_line(
        line("r3", details="upstream_reset_after_response_started{connection_termination}"), NOON_S
    )
    assert broken.ended is not None


def test_a_request_without_an_id_has_none() -> None:
    """One that was refused before the edge gave it one."""
    entry = read_line(line("", tenant="", status=""), NOON_S)
    assert (entry.request_id, entry.client_key) == ("", None)


@given(HEADER_VALUES)
def test_a_client_s_key_is_its_own_field(key: str) -> None:
    """Whatever a header's value can hold, Envoy's sign for nothing included: no other field changes by it."""
    entry = read_line(line("r1", client_key=key), NOON_S)
    assert entry == read_line(line("r1"), NOON_S)._replace(client_key=None if key == "r1" else key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        line("r1") + SEPARATOR,
        line("r1").replace("400", "many"),
        line("r1").replace("400", "-400"),
        line("r1").replace("105", str(2**40)),
        line("r1", status="8").replace("200", "soon"),
    ],
)
def test_what_is_no_line_is_refused(text: str) -> None:
    """Fields too many or too few, sizes that are none or that would not fit the book."""
    with pytest.raises(ValueError, match=r"expected|invalid literal"):
        read_line(text, NOON_S)


@given(st.text(), st.integers(0, 2**64 // 10**9))
def test_any_text_is_a_line_or_refused(text: str, second: int) -> None:
    """Nothing else is raised."""
    try:
        read_line(text, second)
    except ValueError:
        return
    assert text.count(SEPARATOR) == len(FIELDS) - 1


def test_the_line_has_no_secret() -> None:
    """Neither a path nor a token nor an address."""
    assert not {"path", "authorization", "address", "url"} & set(EDGE_LINE.lower().replace("%", " ").split())
    assert "PATH" not in EDGE_LINE
    assert "ADDRESS" not in EDGE_LINE
