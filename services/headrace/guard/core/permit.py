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

    `until` is when it is refused if it could not be admitted; `wake` is called
    once, when `admitted` or `refused` says what became of it. `heard`: it was
    answered that it has to wait.
    """

    __slots__ = ("admitted", "heard", "probe", "refused", "sequence", "until", "wake")

    def __init__(self, until: float, wake: Callable[[], None]) -> None:
        self.until = until
        self.wake = wake
        self.sequence = 0
        self.heard = False
        self.admitted = False
        self.probe = 0
        self.refused: HeadraceError | None = None
