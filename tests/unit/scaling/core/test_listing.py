"""The gateway is told of the replicas that serve, and never of none for want of knowing."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.scaling.core.listing import Endpoint, Endpoints, Listing
from headrace.scaling.fleet import Replica, ReplicaState

HOLD_S = 5.0
SERVING, STARTING = ReplicaState.SERVING, ReplicaState.STARTING
NAMES = ("inference-0", "inference-1", "inference-2")

replicas = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(ReplicaState)), unique_by=lambda one: one[0]
).map(lambda pairs: [replica(name, state) for name, state in pairs])


def replica(name: str, state: ReplicaState = SERVING) -> Replica:
    return Replica(name, state, "127.0.0.1:1", f"/r/{name}.hot", f"/r/{name}.grpc")


def endpoint(name: str) -> Endpoint:
    return Endpoint(name, f"/r/{name}.hot", f"/r/{name}.grpc")


def names(endpoints: Endpoints | None) -> list[str] | None:
    return None if endpoints is None else [one.name for one in endpoints]


def listing(*kept: str) -> Listing:
    return Listing(tuple(map(endpoint, kept)) or None, hold_s=HOLD_S)


def test_what_was_told_holds_until_the_owner_is_heard() -> None:
    """However long that takes: an owner that is silent says nothing of replicas."""
    assert names(listing("inference-0").endpoints(1e9)) == ["inference-0"]
    assert listing("inference-0").due(1e9) is None


def test_nothing_told_and_nothing_heard() -> None:
    """A gateway that asks then is not answered, rather than told of none."""
    assert listing().endpoints(1e9) is None


def test_warm_before_it_is_listed() -> None:
    """A replica is listed when it serves, not when it starts."""
    made = listing()
    made.see([replica("inference-0"), replica("inference-1", STARTING)], 0)
    assert names(made.endpoints(0)) == ["inference-0"]


def test_restart_with_replicas_that_are_not_up_yet() -> None:
    """What was told holds until one of them serves; then what serves is all there is."""
    made = listing("inference-0", "inference-1")
    made.see([replica("inference-0", STARTING), replica("inference-1", STARTING)], 10)
    assert names(made.endpoints(10)) == ["inference-0", "inference-1"]
    made.see([replica("inference-0"), replica("inference-1", STARTING)], 11)
    assert names(made.endpoints(11)) == ["inference-0"]


def test_there_really_is_none() -> None:
    """After the hold an owner that has none is believed, and says so by itself when the time has come."""
    made = listing("inference-0")
    made.see([replica("inference-0", ReplicaState.STOPPED)], 10)
    assert made.due(11) == HOLD_S - 1
    assert names(made.endpoints(10 + HOLD_S - 0.001)) == ["inference-0"]
    assert names(made.endpoints(10 + HOLD_S)) == []
    assert made.due(10 + HOLD_S) is None


def test_a_replica_that_dies_is_taken_out_at_once() -> None:
    """The last one too: who has once been heard of serving replicas is believed when none is left."""
    made = listing()
    made.see([replica("inference-0")], 0)
    made.see([replica("inference-0", STARTING)], 1)
    assert names(made.endpoints(1)) == []


def test_withdrawn_stays_out_until_its_owner_has_spoken_again() -> None:
    """The owner's last word is older than the end of the replica: it must not come back by it."""
    made = listing()
    made.see([replica("inference-0"), replica("inference-1")], 0)
    made.withdraw("inference-1")
    assert names(made.endpoints(0)) == ["inference-0"]
    made.see([replica("inference-0"), replica("inference-1")], 1)
    assert names(made.endpoints(1)) == ["inference-0"]
    made.restore("inference-1")
    assert names(made.endpoints(2)) == ["inference-0"]
    made.see([replica("inference-0"), replica("inference-1", ReplicaState.STOPPED)], 3)
    assert names(made.endpoints(3)) == ["inference-0"]
    made.see([replica("inference-0"), replica("inference-1")], 4)
    assert names(made.endpoints(4)) == ["inference-0", "inference-1"]


events = st.one_of(
    replicas.map(lambda seen: ("see", seen)),
    st.floats(0.1, 4.0).map(lambda seconds: ("wait", seconds)),
    st.sampled_from(NAMES).map(lambda name: ("withdraw", name)),
    st.sampled_from(NAMES).map(lambda name: ("restore", name)),
)


@given(kept=st.lists(st.sampled_from(NAMES), unique=True), history=st.lists(events, max_size=20))
def test_any_history(kept: list[str], history: list[tuple[str, object]]) -> None:
    """Listed is what serves by the owner's last word, but for the withdrawn; what is kept, until then.

    Empty only when everything listed was withdrawn, or the owner had serving
    replicas before, or it has said for the hold that it has none.
    """
    made, now, first, last, registered = listing(*kept), 0.0, None, None, False
    for kind, what in history:
        match kind, what:
            case "see", list(seen):
                made.see(seen, now)
                first, last = (now if first is None else first), seen
                registered = registered or any(one.state is SERVING for one in seen)
            case "wait", float(seconds):
                now += seconds
            case "withdraw", str(name):
                made.withdraw(name)
            case "restore", str(name):
                made.restore(name)
        found = names(made.endpoints(now))
        settled = first is not None and (registered or now >= first + HOLD_S)
        if settled:
            assert last is not None
            serving = [one.name for one in last if one.state is SERVING]
            assert found is not None
            assert set(found) <= set(serving)
            assert made.due(now) is None
        elif not kept:
            assert found is None
        else:
            assert found is not None
            assert set(found) <= set(kept)
        if found == [] and not settled:
            assert not set(kept) - {name for kind, name in history if kind == "withdraw"}
