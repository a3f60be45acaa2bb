"""Who is on the way to a queue: counted until they come, by tenant."""

from headrace.inference.core.coming import Coming


def test_each_counts_until_its_way_ends() -> None:
    """Once, however often it is told; and only among its own tenant's."""
    coming = Coming()
    first, second, other = coming.begin("acme"), coming.begin("acme"), coming.begin("other")
    assert (coming.count("acme"), coming.count("other"), coming.count("nobody")) == (2, 1, 0)
    first.end()
    first.end()
    assert (coming.count("acme"), coming.count("other")) == (1, 1)
    second.end()
    other.end()
    assert (coming.count("acme"), coming.count("other")) == (0, 0)
