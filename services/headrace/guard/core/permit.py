"""One request, admitted or waiting to be."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from headrace.runtime.errors import HeadraceError

if TYPE_CHECKING:
    from headrace.guard.core.holding import Holding


class Permit:
    """One admitted request: released exactly once."""

    __slots__ = ("holding", "model", "open", "probe")

    def __init__(self, holding: "Holding", model: str) -> None:
        self.holding = holding
        self.model = model
        self.probe = 0
        self.open = True


class Waiter:
    """A request that waits for the guard, or for its turn.

    `deadline` is its caller's. `wake` is called when `admitted` or `refused`
    says what became of it, and once before if it is `heard`: it was answered
    that it has to wait.
    """

    __slots__ = ("admitted", "asked", "deadline", "heard", "probe", "refused", "sequence", "wake")

    def __init__(self, asked: float, deadline: float, wake: Callable[[], object]) -> None:
        self.asked = asked
        self.deadline = deadline
        self.wake = wake
        self.sequence = 0
        self.heard = False
        self.admitted = False
        self.probe = 0
        self.refused: HeadraceError | None = None

    @property
    def decided(self) -> bool:
        """Whether it need not wait any more."""
        return self.admitted or self.refused is not None

    def hear(self) -> None:
        """It has to wait."""
        if not self.heard:
            self.heard = True
            self.wake()

    def until(self, wait_s: float) -> float:
        """When it is refused if its turn has not come, where requests may wait so long."""
        return min(self.deadline, self.asked + wait_s)
