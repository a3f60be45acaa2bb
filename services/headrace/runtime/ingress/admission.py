"""From a request's head to a call: which method, who calls, how long, in which encoding."""

from functools import lru_cache

from headrace.runtime.access import SCOPES_HEADER, TENANT_HEADER, TOKEN_ID_HEADER, caller_from_headers
from headrace.runtime.errors import HeadraceError
from headrace.runtime.ingress.core.head import RequestMetadata, is_gzip, timeout_s
from headrace.runtime.ingress.exchange import Exchange, Line
from headrace.runtime.ingress.service import Service
from headrace.runtime.rpc import ANONYMOUS, Call, Caller

Headers = list[tuple[bytes, bytes]]
Values = dict[bytes, bytes]

_IDENTITY = frozenset(name.encode() for name in (TENANT_HEADER, SCOPES_HEADER, TOKEN_ID_HEADER))
_MAX_PATH_TOLD = 200


def begin(service: Service, line: Line, path: bytes, values: Values, now: float) -> Exchange:
    """The call of a known method, its span begun; raises METHOD_UNKNOWN.

    Nobody has been admitted yet: `admit` comes next, and what it raises is
    then an answer of this call, with its span.
    """
    method = service.methods.get(path)
    if method is None:
        # The path is the client's text: told back to it, never a metric's label.
        name = path.decode("latin-1")[:_MAX_PATH_TOLD]
        raise HeadraceError("METHOD_UNKNOWN", f"there is no method {name}", {"method": name})
    header = values.get(b"traceparent")
    traceparent = None if header is None else header.decode("latin-1")
    span, trace_id = service.telemetry.begin(method.path, traceparent)
    call = Call(
        method.path,
        RequestMetadata(values),
        ANONYMOUS,
        now,
        transport="h1",
        span=span,
        trace_id=trace_id,
    )
    return Exchange(service, line, method, call)


def admit(service: Service, exchange: Exchange, values: Values, headers: Headers) -> None:
    """Decides whether the call may go on; raises HeadraceError or WireFault."""
    call = exchange.call
    timeout = values.get(b"grpc-timeout")
    if timeout is not None:
        call.deadline = call.arrived + timeout_s(timeout)
    encoding = values.get(b"grpc-encoding")
    if encoding is not None:
        exchange.gzip = is_gzip(encoding)
    if not service.access.is_open(call.method):
        call.caller = _caller(tuple([header for header in headers if header[0] in _IDENTITY]))
        service.access.check(call.method, call.caller)


@lru_cache(maxsize=1024)
def _caller(identity: tuple[tuple[bytes, bytes], ...]) -> Caller:
    """The caller of these identity headers: all of the request's, so that a second one is seen."""
    return caller_from_headers(
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in identity]
    )
