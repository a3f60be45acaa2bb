"""What the checker finds in a history and a ledger, and that it finds every lie."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.checker import Booked, Verdict, judged, key_of
from tests.chaos.history import Acknowledged, FaultBegun, FaultEnded, Happening, Invoked, Refused

ALLOWED = {"kill gateway": frozenset({"UNAVAILABLE"})}
PLAIN = Invoked(1.0, 0, "plain", "linear", "grpc", "", [1.0, -2.0])
KEYED = Invoked(1.0, 1, "keyed", "linear", "rest", "key-1", [3.0])
ANSWERS = [
    Acknowledged(2.0, 0, [1.0, -2.0], "0", 70, "id-0", "", "inference-0"),
    Acknowledged(2.0, 1, [3.0], "1", 80, "id-1", "near", "inference-1"),
]
HISTORY: list[Happening] = [PLAIN, KEYED, *ANSWERS]
BOOKED = [
    Booked("plain", key_of(PLAIN, "id-0"), answered=True, charged=True, paid=70, price=70),
    Booked("keyed", key_of(KEYED, ""), answered=True, charged=True, paid=80, price=80),
]


def verdict(history: list[Happening], booked: list[Booked], *, sound: bool = True) -> Verdict:
    return judged(history, booked, sound=sound, allowed=ALLOWED, afterwards_s=1.0)


def altered(place: int, **values: object) -> list[Happening]:
    """The history with other values at a place."""
    found = list(HISTORY)
    found[place] = msgspec.structs.replace(found[place], **values)
    return found


def again(event: Booked, **values: Any) -> Booked:
    return event._replace(**values)


def test_a_good_run() -> None:
    """Right answers, each charged once at the told cost: no violation, and the figures say how many."""
    found = verdict(HISTORY, BOOKED)
    assert found.violations == []
    assert (found.calls, found.answered, found.untold, found.repeats) == (2, 2, 0, 0)


@pytest.mark.parametrize(
    ("history", "says"),
    [
        (altered(2, answer=[1.0, -2.1]), "right is"),
        (altered(2, answer=[1.0]), "right is"),
        (altered(2, answer=[float("nan"), -2.0]), "right is"),
        (altered(2, echoed="1"), "got the answer of '1'"),
        (altered(2, cost=71), "was told 71, the ledger has {70}"),
        (altered(2, request_id="id-9"), "was charged 0 times"),
        (altered(2, request_id=""), "without a request id"),
        (altered(1, key="key-9"), "was charged 0 times"),
        (altered(1, tenant="plain"), "was charged 0 times"),
        (HISTORY[:-1], "call 1 has 0 endings"),
        ([*HISTORY, ANSWERS[0]], "call 0 has 2 endings"),
        (HISTORY[1:], "call 0 ended and was never sent"),
        ([*HISTORY, FaultBegun(1.0, 1, "kill guard", ["guard"])], "has no end"),
    ],
)
def test_what_callers_saw(history: list[Happening], says: str) -> None:
    """A wrong answer, somebody else's, an untrue cost, a missing or a second ending: each is named."""
    assert any(says in one for one in verdict(history, BOOKED).violations), verdict(history, BOOKED)


@pytest.mark.parametrize(
    ("booked", "says"),
    [
        (BOOKED[1:], "was charged 0 times"),
        ([*BOOKED, BOOKED[0]], "was charged 2 times"),
        ([*BOOKED, again(BOOKED[0], answered=False, paid=5)], "1 times for work without an answer"),
        ([again(BOOKED[0], answered=False), BOOKED[1]], "was charged 0 times"),
        ([again(BOOKED[0], charged=False, paid=0), BOOKED[1]], "was charged 0 times"),
        ([again(BOOKED[0], charged=False, paid=0), BOOKED[1]], "and nobody pays"),
        ([again(BOOKED[0], paid=69, price=69), BOOKED[1]], "was told 70, the ledger has {69}"),
        ([*BOOKED, again(BOOKED[0], key=b"nobody's")], "keys in the ledger"),
        ([*BOOKED, again(BOOKED[0], key=b"nobody's", charged=False)], "and nobody pays"),
    ],
)
def test_what_the_ledger_has(booked: list[Booked], says: str) -> None:
    """A lost event, a double charge, another cost, a charge for nothing, waste without a reason: each is named."""
    assert any(says in one for one in verdict(HISTORY, booked).violations), verdict(HISTORY, booked)


def test_an_unsound_ledger() -> None:
    """What the ledger's own audit finds counts."""
    assert verdict(HISTORY, BOOKED, sound=False).violations == ["the ledger does not add up"]


def test_a_repeat_is_waste() -> None:
    """A second execution that nobody pays explains itself, and its caller may have been told of either."""
    twice = [*BOOKED, again(BOOKED[0], charged=False, paid=0, price=90)]
    assert verdict(HISTORY, twice).violations == []
    assert verdict(altered(2, cost=90), twice).violations == []
    assert verdict(altered(2, cost=91), twice).violations
    assert verdict(HISTORY, twice).repeats == 1


def test_work_that_failed_is_no_charge() -> None:
    """An attempt that failed by our fault stands beside the answer, and is paid by nobody."""
    assert verdict(HISTORY, [*BOOKED, again(BOOKED[0], answered=False, paid=0)]).violations == []


def test_a_retry_of_the_callers() -> None:
    """Who sends a cut-off request again under its key pays for one answer, and for work that each cut had begun."""
    cut: list[Happening] = [
        FaultBegun(0.2, 1, "kill gateway", []),
        FaultEnded(3.0, 1),
        msgspec.structs.replace(KEYED, call=7),
        Refused(1.5, 7, "UNAVAILABLE", "", ""),
    ]
    begun = again(BOOKED[1], answered=False, paid=5)
    assert verdict([*cut, *HISTORY], BOOKED).violations == []
    assert verdict([*cut, *HISTORY], [*BOOKED, again(BOOKED[1], charged=False, paid=0)]).violations == []
    assert verdict([*cut, *HISTORY], [*BOOKED, begun]).violations == []
    assert verdict([*cut, *HISTORY], [*BOOKED, begun, begun]).violations
    assert verdict(HISTORY, [*BOOKED, begun]).violations


@pytest.mark.parametrize("at", [0.5, 4.0])
@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL"])
@pytest.mark.parametrize("kind", ["kill gateway", "kill guard"])
def test_refusals(at: float, code: str, kind: str) -> None:
    """A refusal is well while a fault lasts that allows its code, or just after; never besides."""
    fault: list[Happening] = [FaultBegun(0.2, 1, kind, []), FaultEnded(3.0, 1)]
    call = replaced(PLAIN, at)
    refused = Refused(at + 0.1, 0, code, "nobody there", "")
    well = kind == "kill gateway" and code == "UNAVAILABLE"
    found = verdict([*fault, call, refused], [])
    assert (found.violations == []) is (well and at < 4.1)
    assert found.refused == {code: 1}
    late = verdict([*fault, replaced(PLAIN, 5.0), Refused(5.1, 0, code, "", "")], [])
    assert "during nothing" in late.violations[0]


def replaced(call: Invoked, at: float) -> Invoked:
    return msgspec.structs.replace(call, at=at)


def test_a_lost_call_may_have_been_billed() -> None:
    """A call that was cut off may stand in the ledger under a key that nobody was told: one key for each such call."""
    fault: list[Happening] = [FaultBegun(0.2, 1, "kill gateway", []), FaultEnded(3.0, 1)]
    lost: list[Happening] = [*fault, PLAIN, Refused(2.0, 0, "UNAVAILABLE", "", "")]
    event = again(BOOKED[0], key=b"unknown")
    assert verdict(lost, [event]).violations == []
    assert verdict(lost, [event, again(event, key=b"another")]).violations
    told: list[Happening] = [*fault, PLAIN, Refused(2.0, 0, "UNAVAILABLE", "", "id-0")]
    assert verdict(told, [event]).violations


def test_shares() -> None:
    """A call counts for a fault that it was under way in, answered or not."""
    faults: list[Happening] = [
        FaultBegun(1.5, 1, "kill guard", []),
        FaultEnded(1.8, 1),
        FaultBegun(2.5, 2, "kill gateway", []),
        FaultEnded(4.5, 2),
    ]
    late: list[Happening] = [
        Invoked(3.0, 2, "plain", "linear", "grpc", "", []),
        Refused(3.5, 2, "UNAVAILABLE", "", ""),
    ]
    shares = verdict([*faults, *HISTORY, *late], BOOKED).shares
    assert {kind: (one.faults, one.calls, one.answered) for kind, one in shares.items()} == {
        "kill guard": (1, 2, 2),
        "kill gateway": (1, 1, 0),
    }
    assert shares["kill gateway"].longest_s == 2.0


RUN = st.lists(st.tuples(st.integers(0, 10**6), st.booleans(), st.booleans()), max_size=20)


@given(RUN, st.data())
def test_any_single_lie_is_found(calls: list[tuple[int, bool, bool]], data: st.DataObject) -> None:
    """Of any good run: drop, double or alter one event, and there is a violation; without that there is none."""
    history: list[Happening] = []
    booked: list[Booked] = []
    for number, (cost, keyed, twice) in enumerate(calls):
        call = replace_call(number, keyed)
        history += [call, Acknowledged(2.0, number, [1.0], str(number), cost, f"id-{number}", "", "")]
        event = Booked(call.tenant, key_of(call, f"id-{number}"), True, True, cost, cost)
        booked += [event, event._replace(charged=False, paid=0, price=cost + 1)] if twice else [event]
    assert verdict(history, booked).violations == []
    if charged := [place for place, event in enumerate(booked) if event.charged]:
        place = data.draw(st.sampled_from(charged))
        for lie in (drop, double):
            assert verdict(history, lie(booked, place)).violations


def replace_call(number: int, keyed: bool) -> Invoked:
    key = f"key-{number}" if keyed else ""
    return Invoked(1.0, number, "keyed" if keyed else "plain", "linear", "grpc", key, [1.0])


def drop(booked: list[Booked], place: int) -> list[Booked]:
    return booked[:place] + booked[place + 1 :]


def double(booked: list[Booked], place: int) -> list[Booked]:
    return [*booked, booked[place]]
