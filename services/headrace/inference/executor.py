"""What a model's requests are handed to: its own batcher, or the steps of an ensemble."""

from typing import Protocol

from headrace.inference.batch import Outcome
from headrace.inference.core.costs import CostCurve
from headrace.inference.core.history import History
from headrace.inference.core.levels import Depth
from headrace.inference.core.policy import BatchPolicy
from headrace.inference.execution import Work
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call


class Executor(Protocol):
    """Executes the requests of one model. `instances` is how many batches of it run at once, 0 for an ensemble."""

    policy: BatchPolicy
    history: History
    instances: int

    @property
    def waiting(self) -> int:
        """Requests that wait here: a step's wait in its own model's queue."""
        ...

    @property
    def working(self) -> bool:
        """Whether a request waits or is executed."""
        ...

    @property
    def busy(self) -> bool:
        """Whether whoever comes now has to wait for others."""
        ...

    @property
    def refusing(self) -> bool:
        """Whether a request was refused for its deadline just before."""
        ...

    def refuses(
        self, work: Work, call: Call, deadline: float | None, coming: int = 0
    ) -> HeadraceError | None:
        """What `submit` would raise at once, as far as that is known, behind `coming` more of the caller's tenant; None for nothing."""
        ...

    async def submit(self, work: Work, call: Call, deadline: float | None) -> Outcome:
        """Waits for the request's answer; a cancelled caller costs no more than what runs already."""
        ...

    def curves(self) -> list[tuple[str, CostCurve]]:
        """What batches cost, by shape."""
        ...

    def depths(self) -> list[Depth]:
        """Who waits."""
        ...

    async def close(self) -> None:
        """Lets go of what executes; nobody submits any more."""
        ...
