"""Who is on the way to a queue, and will wait there with those who do already."""


class Coming:
    """How many requests of each tenant are on their way to one queue."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def count(self, tenant: str) -> int:
        """The tenant's."""
        return self._counts.get(tenant, 0)

    def begin(self, tenant: str) -> "Way":
        """One more, until its way ends."""
        self._counts[tenant] = self._counts.get(tenant, 0) + 1
        return Way(self._counts, tenant)


class Way:
    """One request's."""

    __slots__ = ("_counts", "_tenant")

    def __init__(self, counts: dict[str, int], tenant: str) -> None:
        self._counts: dict[str, int] | None = counts
        self._tenant = tenant

    def end(self) -> None:
        """It has come, or will not; it may be told more than once."""
        counts, self._counts = self._counts, None
        if counts is None:
            return
        left = counts[self._tenant] - 1
        if left:
            counts[self._tenant] = left
        else:
            del counts[self._tenant]
