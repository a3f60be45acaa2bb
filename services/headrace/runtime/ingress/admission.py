"""From a request's head to a call: which method, who calls, how long, in which encoding."""

from headrace.runtime.access import caller_from_headers
from headrace.runtime.errors import HeadraceError
from headrace.runtime.ingress.core import head
from headrace.runtime.ingress.exchange import Exchange, Line
from headrace.runtime.ingress.service import Service
from headrace.runtime.rpc import ANONYMOUS, Call
from headrace.runtime.telemetry import trace_id_of

Headers = list[tuple[str, str]]


def begin(service: Service, line: Line, path: bytes, headers: Headers, now: float) -> Exchange:
    """The call of a known method, its span begun; raises METHOD_UNKNOWN.

    Nobody has been admitted yet: `admit` comes next, and what it raises is
    then an answer of this call, with its span.
    """
    method = service.methods.get(path)
    if method is None:
        # The path is the client's text: it goes back in the metadata, never into a label.
        name = path.decode("latin-1")[:200]
        raise HeadraceError("METHOD_UNKNOWN", f"there is no method {name}", {"method": name})
    traceparent = next((value for name, value in headers if name == "traceparent"), None)
    span = service.telemetry.begin(method.path, traceparent)
    call = Call(
        method.path,
        {},
        ANONYMOUS,
        now,
        transport="h1",
        span=span,
        trace_id=trace_id_of(span, traceparent),
    )
    return Exchange(service, line, method, call)


def admit(service: Service, exchange: Exchange, headers: Headers) -> None:
    """Fills the call in and decides whether it may go on; raises HeadraceError or WireFault."""
    call = exchange.call
    metadata = head.metadata(headers)
    call.metadata = metadata
    timeout = metadata.get("grpc-timeout")
    if isinstance(timeout, str):
        call.deadline = call.arrived + head.timeout_s(timeout)
    encoding = metadata.get("grpc-encoding")
    if isinstance(encoding, str):
        exchange.gzip = head.is_gzip(encoding)
    if not service.access.is_open(call.method):
        call.caller = caller_from_headers(headers)
        service.access.check(call.method, call.caller)
