"""In the place of what an insight is not set up to do."""

from headrace.insight.errors import figures_not_collected, page_not_served
from headrace.insight.figures import Overview
from headrace.runtime.rpc import Caller


class NoFigures:
    """For an insight that is told of no processes."""

    def overview(self, *, history: bool = False) -> Overview:  # noqa: ARG002  # as the Protocol has it
        """Raises FIGURES_NOT_COLLECTED."""
        raise figures_not_collected()


class NoPage:
    """For an insight that serves no web page."""

    def link(self, caller: Caller) -> str:  # noqa: ARG002  # as the Protocol has it
        """Raises PAGE_NOT_SERVED."""
        raise page_not_served()
