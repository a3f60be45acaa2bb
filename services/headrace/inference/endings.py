"""What the callers of one model are told: of an executed batch, and of requests that never were in one."""

import structlog

from headrace.inference import errors
from headrace.inference.batch import Batch, Outcome, Ticket
from headrace.inference.core.history import Counts
from headrace.inference.core.order import OutputOrder
from headrace.runtime.errors import HeadraceError

log = structlog.get_logger(__name__)


class Endings:
    """Ends the requests of `model`; where it is `ordered`, each after its tenant's earlier ones."""

    def __init__(self, model: str, counts: Counts, *, ordered: bool) -> None:
        self._model = model
        self._counts = counts
        self._order: OutputOrder[Ticket] | None = OutputOrder() if ordered else None

    def expect(self, ticket: Ticket) -> None:
        """It waits now, and will end once."""
        if self._order is not None:
            self._order.enter(ticket.tenant, ticket)

    def end(self, ticket: Ticket, ending: Outcome | HeadraceError | None = None) -> None:
        """Tells its caller, now or when those before it are told; None: its caller has left."""
        if self._order is None:
            ticket.tell(ending)
            return
        ticket.ending = ending
        for released in self._order.finish(ticket.tenant, ticket):
            released.tell(released.ending)
            released.ending = None

    def executed(self, batch: Batch) -> None:
        """Tells all of its callers. Each gets the answer with the number of its own request, or none."""
        done = batch.executed
        if len(batch.tickets) < len(batch.cut.items):
            for ticket in set(batch.cut.items) - set(batch.tickets):
                self.end(ticket)  # its caller has left; others may wait for its turn
        position = 0
        for ticket, answer, cpu_ns in zip(batch.tickets, done.answers, done.shares, strict=True):
            before, position = position, position + ticket.rows
            if answer is None:
                self.end(ticket, errors.execution_failed(self._model))
            elif answer.tag != ticket.number:
                self._counts.mixed_up += 1
                log.error(
                    "answer of another request", model=self._model, expected=ticket.number, got=answer.tag
                )
                self.end(ticket, errors.execution_failed(self._model))
            else:
                queue_ns = done.started_ns - int(ticket.arrived * 1e9)
                times = done.started_ns, done.ended_ns, batch.wait_ns(ticket)
                self.end(ticket, Outcome(answer, queue_ns, cpu_ns, batch.rows, *times, before))
