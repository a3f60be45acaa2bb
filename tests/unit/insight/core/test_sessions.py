"""Who is let in to the page, and for how long."""

from headrace.insight.core.sessions import LINK_S, MOST_LINKS, MOST_SESSIONS, SESSION_S, Sessions
from headrace.runtime.rpc import Caller

ACME = Caller("acme", frozenset({"observe"}), "1")


def test_a_link_is_good_once() -> None:
    """Whoever finds it later, in a terminal or in a browser's history, finds nothing."""
    sessions = Sessions()
    sessions.link("secret", ACME, 0.0)
    assert sessions.redeem("other", 1.0) is None
    assert sessions.redeem("secret", 1.0) == ACME
    assert sessions.redeem("secret", 1.0) is None


def test_a_link_is_good_for_a_minute() -> None:
    """Not at its end."""
    sessions = Sessions()
    for secret in ("in time", "late"):
        sessions.link(secret, ACME, 0.0)
    assert sessions.redeem("in time", LINK_S - 0.001) == ACME
    assert sessions.redeem("late", LINK_S) is None


def test_a_session_ends_by_itself_or_when_asked() -> None:
    """And is no link, nor a link a session."""
    sessions = Sessions()
    sessions.begin("one", ACME, 0.0)
    sessions.begin("two", ACME, 0.0)
    assert sessions.find("one", SESSION_S - 1) == ACME
    assert sessions.find("one", SESSION_S) is None
    sessions.end("two")
    sessions.end("two")
    assert sessions.find("two", 1.0) is None
    sessions.link("three", ACME, 0.0)
    assert sessions.find("three", 1.0) is None
    assert sessions.redeem("one", 1.0) is None
    assert sessions.find("", 1.0) is None


def test_both_are_bounded() -> None:
    """Asking for more of them pushes out the oldest, and takes no more memory."""
    sessions = Sessions()
    for number in range(MOST_LINKS + 1):
        sessions.link(str(number), ACME, 0.0)
    assert (sessions.redeem("0", 1.0), sessions.redeem("1", 1.0)) == (None, ACME)
    for number in range(MOST_SESSIONS + 1):
        sessions.begin(str(number), ACME, 0.0)
    assert (sessions.find("0", 1.0), sessions.find("1", 1.0)) == (None, ACME)
