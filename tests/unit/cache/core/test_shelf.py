"""Entries in memory: bounded both ways, used ones stay, ended ones are not found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cache.core.shelf import OVERHEAD_BYTES, Kept, Scope, Shelf


def kept(value: bytes = b"v", tenant: str = "acme", model: str = "linear", expires: float = 10.0) -> Kept:
    return Kept(value, tenant, model, expires)


def test_the_least_recently_used_entry_leaves() -> None:
    """Not the oldest one: an entry that was read since stays."""
    shelf = Shelf(2, 10_000)
    shelf.put(b"a", kept())
    shelf.put(b"b", kept())
    assert shelf.get(b"a", 0.0) is not None
    shelf.put(b"c", kept())
    assert shelf.get(b"a", 0.0) is not None
    assert shelf.get(b"b", 0.0) is None
    assert shelf.evicted == 1


def test_bytes_are_bounded() -> None:
    """Several small entries leave for a large one; one larger than all the room is not kept, and nothing left for it."""
    shelf = Shelf(100, 4 * OVERHEAD_BYTES)
    for name in (b"a", b"b", b"c"):
        shelf.put(name, kept(b""))
    assert shelf.put(b"d", kept(bytes(2 * OVERHEAD_BYTES)))
    assert [shelf.get(name, 0.0) is not None for name in (b"a", b"b", b"c", b"d")] == [
        False,
        False,
        True,
        True,
    ]
    assert shelf.held_bytes == 4 * OVERHEAD_BYTES
    assert not shelf.put(b"e", kept(bytes(4 * OVERHEAD_BYTES)))
    assert len(shelf) == 2


def test_a_larger_value_than_fits_takes_the_old_one_with_it() -> None:
    """A key never answers with what it was before."""
    shelf = Shelf(10, 2 * OVERHEAD_BYTES)
    shelf.put(b"a", kept(b"old"))
    assert not shelf.put(b"a", kept(bytes(2 * OVERHEAD_BYTES)))
    assert shelf.get(b"a", 0.0) is None


def test_an_empty_value_is_an_entry() -> None:
    """Empty and missing are two answers."""
    shelf = Shelf(10, 10_000)
    shelf.put(b"a", kept(b""))
    found = shelf.get(b"a", 0.0)
    assert found is not None
    assert found.value == b""


def test_an_ended_entry_is_not_found() -> None:
    """At its end, exactly; and its room is free."""
    shelf = Shelf(10, 10_000)
    shelf.put(b"a", kept(expires=10.0))
    assert shelf.get(b"a", 9.999) is not None
    assert shelf.get(b"a", 10.0) is None
    assert (len(shelf), shelf.held_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("scope", "left"),
    [
        (Scope(tenant="acme"), {b"c"}),
        (Scope(model="linear"), {b"b"}),
        (Scope(tenant="acme", model="linear"), {b"b", b"c"}),
        (Scope(key=b"b"), {b"a", b"c"}),
        (Scope(tenant="globex", key=b"b"), {b"a", b"b", b"c"}),
        (Scope(), set()),
    ],
)
def test_a_scope_covers_what_has_all_that_it_names(scope: Scope, left: set[bytes]) -> None:
    """Nothing more is forgotten, and nothing less."""
    shelf = Shelf(10, 10_000)
    shelf.put(b"a", kept())
    shelf.put(b"b", kept(model="minilm"))
    shelf.put(b"c", kept(tenant="globex"))
    assert shelf.forget(scope) == 3 - len(left)
    assert {name for name in (b"a", b"b", b"c") if shelf.get(name, 0.0)} == left


steps = st.lists(
    st.tuples(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), st.integers(-1, 600)), max_size=60
)


@given(steps)
def test_no_order_of_steps_breaks_the_bounds(steps: list[tuple[bytes, int]]) -> None:
    """Against a model that keeps a list in order of use; -1 is a look-up, else a value's size."""
    shelf, model = Shelf(3, 3 * OVERHEAD_BYTES), dict[bytes, int]()
    for key, size in steps:
        if size < 0:
            assert (shelf.get(key, 0.0) is not None) == (key in model)
            if key in model:
                model[key] = model.pop(key)
            continue
        shelf.put(key, kept(bytes(size)))
        model.pop(key, None)
        while (
            len(model) > 2
            or sum(model.values()) + (len(model) + 1) * OVERHEAD_BYTES + size > 3 * OVERHEAD_BYTES
        ):
            model.pop(next(iter(model)))
        model[key] = size
        assert len(shelf) == len(model) <= 3
        assert shelf.held_bytes == sum(model.values()) + len(model) * OVERHEAD_BYTES <= 3 * OVERHEAD_BYTES
