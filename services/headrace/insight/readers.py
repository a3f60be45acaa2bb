"""What of traces and figures a caller may see: operators all, a tenant's observers what is theirs."""

from dataclasses import replace

from headrace.insight.core.visibility import visible
from headrace.insight.figures import Overview
from headrace.insight.spans import Trace
from headrace.runtime.access import OPERATE
from headrace.runtime.rpc import Caller


def only(caller: Caller) -> str:
    """The tenant whose traces the caller may see; empty for one who operates the mesh."""
    return "" if OPERATE in caller.scopes else caller.tenant


def seen_trace(trace: Trace, caller: Caller) -> Trace:
    """The part of the trace that the caller may see; empty when there is none."""
    tenant = only(caller)
    return visible(trace, tenant) if tenant else trace


def seen_overview(overview: Overview, caller: Caller) -> Overview:
    """How the mesh does is for all observers, and names nobody; what all tenants pay together is its operator's."""
    return replace(overview, cost=None) if only(caller) else overview
