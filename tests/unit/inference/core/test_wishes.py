"""What replicas are asked to do, and which of it is left."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.core.wishes import Wish, Wishes


def test_a_wish_takes_the_place_of_the_last_one_for_the_same_thing() -> None:
    """Only the latest counts, and comes after all that was wished before."""
    wishes = Wishes().changed("model/a", "1").changed("model/b", "2").changed("model/a", "3")
    assert wishes.unseen({}) == [("model/b", Wish(2, "2")), ("model/a", Wish(3, "3"))]
    assert wishes.unseen({"model/a": 1, "model/b": 2}) == [("model/a", Wish(3, "3"))]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=3)), max_size=20), st.integers(0, 20))
def test_who_does_what_is_unseen_ends_where_the_others_are(changes: list[tuple[str, str]], at: int) -> None:
    """Whenever a replica looks, and however often: the last wish for each thing is what it has done."""
    wishes, done, state = Wishes(), dict[str, int](), dict[str, str]()
    for number, (key, value) in enumerate(changes):
        wishes = wishes.changed(key, value)
        if number == at or number == len(changes) - 1:
            for one, wish in wishes.unseen(done):
                done[one], state[one] = wish.revision, wish.value
    assert state == dict(changes)
    assert wishes.unseen(done) == []
