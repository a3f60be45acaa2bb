"""Which runs of a model are under way, and whether it has stalled: takes work and gives none back."""

from collections.abc import Hashable


class Runs:
    """The runs of one model version on its `instances`.

    It has stalled when every instance has been in one run for longer than
    `bound_s` (0: never): nothing that waits will be taken. One instance that
    hangs costs a part of what the model can do, and leaves it serving.
    """

    def __init__(self, instances: int = 1, bound_s: float = 0.0) -> None:
        self._instances = instances
        self._bound_s = bound_s
        self._begun: dict[Hashable, float] = {}

    def begin(self, instance: Hashable, now: float) -> None:
        """A run begins; each of an instance's own keys has one at a time."""
        self._begun[instance] = now

    def end(self, instance: Hashable) -> None:
        """It has ended, in whatever way."""
        self._begun.pop(instance, None)

    def stalled(self, now: float) -> bool:
        """Whether the model has stalled; `now` is monotonic, in seconds."""
        if not self._bound_s:
            return False
        # A copy: instances begin and end on threads of their own.
        late = sum(now - begun > self._bound_s for begun in list(self._begun.values()))
        return late >= self._instances
