"""Whether a request that would be refused is looked up in the cache."""

from headrace.inference.core.lookups import TRIED, LookUps


def test_where_answers_are_found_everybody_is_looked_up() -> None:
    """One in ten is enough; so is not knowing."""
    lookups = LookUps()
    assert lookups.worth()
    for number in range(1000):
        lookups.ended(hit=number % 10 == 0)
    assert all(lookups.worth() for _ in range(100))


def test_where_none_is_found_one_in_a_while_is() -> None:
    """Its hits bring the others back."""
    lookups = LookUps()
    for _ in range(1000):
        lookups.ended(hit=False)
    assert [lookups.worth() for _ in range(10 * TRIED)].count(True) == 10
    lookups.ended(hit=True)
    lookups.ended(hit=True)
    assert lookups.worth()
