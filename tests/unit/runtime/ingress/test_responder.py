"""One answer per request: whatever is called, in whatever order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.ingress.responder import AnsweredAlready, Responder


class Wire:
    """A connection that keeps what it was told."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.answers = 0
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def answered(self) -> None:
        self.answers += 1

    def abort(self) -> None:
        self.aborted = True


CALLS = st.lists(st.sampled_from(["whole", "begin", "more", "end", "close"]), max_size=8)


@given(CALLS)
def test_only_one_whole_answer_ever_leaves(calls: list[str]) -> None:
    """Up to the first wrong call all is sent; from it on nothing is, and the connection ends."""
    wire = Wire()
    responder = Responder(wire)
    legal = True
    for call in calls:
        sent = len(wire.sent)
        try:
            if call == "close":
                responder.close()
            else:
                getattr(responder, call)(call.encode())
        except AnsweredAlready:
            legal = False
            assert len(wire.sent) == sent
    assert wire.aborted == (not legal)
    assert wire.answers <= 1
    told = b" ".join(wire.sent)
    assert told == b"whole" or told.split(b" ")[0] in {b"begin", b""}
    assert told.count(b"whole") + told.count(b"end") <= 1


@pytest.mark.parametrize("late", ["whole", "begin", "more", "end"])
def test_a_late_write_aborts(late: str) -> None:
    """After the answer the connection belongs to somebody else."""
    wire = Wire()
    responder = Responder(wire)
    responder.whole(b"answer")
    with pytest.raises(AnsweredAlready):
        getattr(responder, late)(b"late")
    assert wire.sent == [b"answer"]
    assert wire.aborted
