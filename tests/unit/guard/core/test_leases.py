"""All tenants and all holders."""

from headrace.guard.core.frames import Hello, Outstanding, Settle, Want
from headrace.guard.core.leases import Leases
from headrace.guard.core.limits import LimitBook, Limits

BOOK = LimitBook(Limits(rate=1000.0, burst=1000, concurrency=100), {"few": Limits(0.01, 20, 10)})


def leases(*holders: str, expected: tuple[str, ...] = ()) -> Leases:
    """A guard with these holders."""
    made = Leases(BOOK, 1.0, 0.0, expected)
    for holder in holders:
        made.join(Hello(holder, "1"), 0.0)
    return made


def test_each_tenant_has_its_own_limits() -> None:
    """One that has none of its own has the defaults; one does not touch the other."""
    guard = leases("a")
    guard.want("a", [Want(1, "few", tokens=30, slots=10, waiting=30)], 0.0)
    guard.want("a", [Want(2, "acme", tokens=30, slots=10, waiting=30)], 0.0)
    grants = {grant.tenant: grant for grant in guard.rounds(0.0)["a"].grants}
    assert (grants["few"].tokens, grants["acme"].tokens) == (20, 30)
    assert grants["few"].limits == BOOK.of("few")


def test_a_stream_that_breaks_leaves_its_leases_until_they_are_over() -> None:
    """The holder may go on with them; then its slots are free and its tokens count as spent."""
    guard = leases("a", "b")
    guard.want("a", [Want(1, "acme", tokens=100, slots=100, waiting=100)], 0.0)
    guard.rounds(0.0)
    guard.leave("a", 1.0)
    assert guard.expire(1.9) == []
    assert guard.tenants["acme"].slots == 100
    assert guard.expire(2.0) == ["a"]
    assert guard.tenants["acme"].slots == 0
    assert guard.count == 1


def test_a_holder_without_leases_leaves_at_once() -> None:
    """There is nothing that it could go on with."""
    guard = leases("a")
    guard.want("a", [Want(1, "acme", tokens=1, slots=1, waiting=1)], 0.0)
    guard.rounds(0.0)
    guard.settle("a", [Settle("acme", used=1, slots=1, done=True)], 0.0)
    guard.leave("a", 0.0)
    assert not guard.holders


def test_a_stream_that_comes_back_goes_on() -> None:
    """The same process: its leases are what it says, and they do not end any more."""
    guard = leases("a")
    guard.want("a", [Want(1, "acme", tokens=100, slots=50, waiting=50)], 0.0)
    guard.rounds(0.0)
    guard.leave("a", 0.1)
    guard.join(Hello("a", "1", (Outstanding("acme", tokens=50, slots=10, used=50, deficit=50.0),)), 0.2)
    assert guard.expire(10.0) == []
    assert guard.tenants["acme"].slots == 10


def test_a_new_process_of_the_name_has_nothing() -> None:
    """What the old one had is gone with it."""
    guard = leases("a")
    guard.want("a", [Want(1, "acme", tokens=50, slots=50, waiting=50)], 0.0)
    guard.rounds(0.0)
    guard.join(Hello("a", "2"), 0.1)
    assert guard.tenants["acme"].slots == 0
    assert guard.count == 1


def test_the_part_of_holders_that_are_missed_is_kept_back() -> None:
    """Until they have come, or for two times to live."""
    guard = leases("a", expected=("a", "b"))
    assert guard.count == 2
    guard.want("a", [Want(1, "few", tokens=20, slots=10, waiting=20)], 0.0)
    assert guard.rounds(0.0)["a"].grants[0].tokens == 10
    guard.expire(2.0)
    guard.want("a", [Want(2, "few", tokens=20, slots=10, waiting=20)], 2.0)
    assert guard.rounds(2.0)["a"].grants[0].tokens == 10
    assert guard.count == 1


def test_one_that_has_come_has_its_part() -> None:
    """All are there: nothing is kept back."""
    guard = leases("a", "b", expected=("a", "b"))
    guard.want("a", [Want(1, "few", tokens=20, slots=10, waiting=20)], 0.0)
    assert guard.rounds(0.0)["a"].grants[0].tokens == 20
