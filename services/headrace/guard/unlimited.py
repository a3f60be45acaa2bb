"""Admission where there is no guard: everything passes."""

from headrace.guard.core.holding import Holding
from headrace.guard.core.limits import Code, Limits
from headrace.guard.core.permit import Permit
from headrace.runtime.revocation import NO_REVOCATIONS, Revocations


class Unlimited:
    """As `LeaseHolder`, for a process that is given no guard: admits everything and revokes nothing."""

    def __init__(self) -> None:
        self.revocations: Revocations = NO_REVOCATIONS
        self._holding = Holding("", Limits(), 1, 0.0)

    def admit(self, _tenant: str, model: str) -> Permit | None:
        """Admits."""
        return Permit(self._holding, model)

    async def ask(self, _tenant: str, model: str, _deadline: float | None) -> Permit:
        """Admits."""
        return Permit(self._holding, model)

    def release(self, permit: Permit, _code: Code, _latency_s: float) -> None:
        """Raises RuntimeError for a permit that was released before, as with a guard."""
        if not permit.open:
            raise RuntimeError("the permit has been released before")
        permit.open = False
