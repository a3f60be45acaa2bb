"""What insight refuses, and the code each reason has on the wire."""

import grpc

from headrace.runtime.errors import CodeTable, FieldViolation, HeadraceError

DOMAIN = "insight.headrace"

CODES: CodeTable = {
    (DOMAIN, "TRACE_NOT_FOUND"): grpc.StatusCode.NOT_FOUND,
    # Not UNAVAILABLE: asking again would not help.
    (DOMAIN, "TRACES_NOT_KEPT"): grpc.StatusCode.FAILED_PRECONDITION,
    (DOMAIN, "FIGURES_NOT_COLLECTED"): grpc.StatusCode.FAILED_PRECONDITION,
    (DOMAIN, "PAGE_NOT_SERVED"): grpc.StatusCode.FAILED_PRECONDITION,
}


def trace_not_found(trace_id: str) -> HeadraceError:
    """No span of the trace is stored."""
    return HeadraceError(
        "TRACE_NOT_FOUND",
        f"no span of trace {trace_id} is stored: it was not sampled, dropped, or evicted since",
        {"trace_id": trace_id},
        DOMAIN,
    )


def traces_not_kept() -> HeadraceError:
    """Spans are passed on, and there is no store."""
    return HeadraceError(
        "TRACES_NOT_KEPT",
        "this insight keeps no traces, it only passes them on: ask the receivers that it is set to forward to",
        {"setting": "HEADRACE_INSIGHT_KEEP"},
        DOMAIN,
    )


def figures_not_collected() -> HeadraceError:
    """Nobody told which processes there are."""
    return HeadraceError(
        "FIGURES_NOT_COLLECTED",
        "this insight asks no process for its metrics: it is not told which there are",
        {"setting": "HEADRACE_INSIGHT_TARGETS"},
        DOMAIN,
    )


def page_not_served() -> HeadraceError:
    """There is no web page to let anybody in."""
    return HeadraceError(
        "PAGE_NOT_SERVED",
        "this insight serves no web page",
        {"setting": "HEADRACE_INSIGHT_WEB_LISTEN"},
        DOMAIN,
    )


def field_invalid(field: str, description: str) -> HeadraceError:
    """A field of the request that can't be served."""
    return HeadraceError(
        "FIELD_INVALID",
        f"{field}: {description}",
        {"field": field},
        violations=(FieldViolation(field, description),),
    )


def reads_overloaded() -> HeadraceError:
    """More questions wait for the store than it answers soon."""
    return HeadraceError("OVERLOADED", "too many queries wait for the store", retry_after_s=1.0)
