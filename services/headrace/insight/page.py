"""The web page: its files, who may read it, and what it asks for.

The files say nothing and are open. What they show comes from `/api/`, and
needs a session: the page sends it in a header, never in a cookie, which a
browser would send to every port of this host.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from importlib.resources import files

import msgspec

from headrace.insight.core.sessions import Sessions
from headrace.insight.document import overview_document
from headrace.insight.errors import CODES, field_invalid, trace_not_found
from headrace.insight.readers import only, seen_overview, seen_trace
from headrace.insight.servicer import Figures, Traces
from headrace.insight.trace_document import list_document, trace_document
from headrace.insight.webserver import Request, Response
from headrace.runtime.access import Access, TokenVerifier, unauthenticated
from headrace.runtime.clock import Clock
from headrace.runtime.errors import HeadraceError, rejected
from headrace.runtime.rpc import Caller

HEX_DIGITS = frozenset("0123456789abcdef")
LISTED, MOST_LISTED = 50, 200
MOST_MS = 3_600_000
SECRET_BYTES = 32
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
STATUS = {3: 400, 5: 404, 7: 403, 8: 429, 9: 409, 12: 501, 13: 500, 14: 503, 16: 401}
"""HTTP's status of gRPC's codes."""

METHOD = "/headrace.insight.v1.InsightService/"
"""Whoever may call these may read the same on the page."""

Question = Callable[[Request, Caller], Awaitable[Mapping[str, object]]]


class Page:
    """Answers what a browser asks."""

    def __init__(
        self, traces: Traces, figures: Figures, verifier: TokenVerifier, access: Access, clock: Clock
    ) -> None:
        self._traces = traces
        self._figures = figures
        self._verifier = verifier
        self._access = access
        self._clock = clock
        self._sessions = Sessions()
        self._files = _files()
        self.address = ""

    def link(self, caller: Caller) -> str:
        """The page's address with a way in for this caller, once, within a minute."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        self._sessions.link(secret, caller, self._clock.monotonic())
        return f"http://{self.address}/#{secret}"

    async def answer(self, request: Request) -> Response:
        """The answer, an error's too."""
        try:
            return await self._routed(request)
        except HeadraceError as error:
            told = rejected(error, CODES)
            status = HTTPStatus(STATUS.get(told.code, 500))
            return _json({"error": told.message, "reason": error.reason}, status)

    async def _routed(self, request: Request) -> Response:
        match (request.method, request.path.split("/")[1:]):
            case ("POST", ["session"]):
                return _json({"session": self._begin(request)})
            case ("POST", ["session", "end"]):
                self._sessions.end(_credential(request, "session"))
                return _json({})
            case ("GET", ["api", "overview"]):
                return await self._asked("GetOverview", self._overview, request)
            case ("GET", ["api", "traces"]):
                return await self._asked("ListTraces", self._list, request)
            case ("GET", ["api", "traces", _]):
                return await self._asked("GetTrace", self._trace, request)
            case ("GET", [""] | ["traces"] | ["traces", _]):
                return self._files["index.html"]
            case ("GET", ["static", name]) if name in self._files:
                return self._files[name]
            case ("GET" | "POST", _):
                return _json({"error": "there is nothing here"}, HTTPStatus.NOT_FOUND)
        return Response(status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"allow": "GET, POST"})

    async def _asked(self, method: str, question: Question, request: Request) -> Response:
        caller = self._caller(request)
        self._access.check(METHOD + method, caller)
        return _json(await question(request, caller))

    def _begin(self, request: Request) -> str:
        """A session for whoever shows a token or an unused link; raises UNAUTHENTICATED or SCOPE_MISSING."""
        now = self._clock.monotonic()
        link = _credential(request, "link")
        caller = self._sessions.redeem(link, now) if link else self._verified(request)
        if caller is None:
            raise unauthenticated("this link was used, or is older than a minute", "link")
        self._access.check(METHOD + "GetOverview", caller)
        secret = secrets.token_urlsafe(SECRET_BYTES)
        self._sessions.begin(secret, caller, now)
        return secret

    def _caller(self, request: Request) -> Caller:
        session = _credential(request, "session")
        if not session:
            return self._verified(request)
        caller = self._sessions.find(session, self._clock.monotonic())
        if caller is None:
            raise unauthenticated("this session is over", "session")
        return caller

    def _verified(self, request: Request) -> Caller:
        if "authorization" not in request.headers:
            raise unauthenticated("no bearer token", "missing")
        return self._verifier.verify(request.headers["authorization"])

    async def _overview(self, request: Request, caller: Caller) -> Mapping[str, object]:
        overview = self._figures.overview(history=request.query.get("history") == "1")
        return overview_document(seen_overview(overview, caller))

    async def _list(self, request: Request, caller: Caller) -> Mapping[str, object]:
        limit = _number(request, "limit", LISTED, MOST_LISTED)
        least_ns = _number(request, "min_ms", 0, MOST_MS) * 10**6
        model, failed = request.query.get("model", ""), request.query.get("failed") == "1"
        # A batch is a trace of its own: as many again as there are requests.
        service = "" if request.query.get("all") == "1" else "gateway"
        return list_document(
            await self._traces.ask(
                lambda store: store.newest(
                    limit, service, tenant=only(caller), model=model, least_ns=least_ns, failed=failed
                )
            )
        )

    async def _trace(self, request: Request, caller: Caller) -> Mapping[str, object]:
        trace_id = request.path.rpartition("/")[2]
        if len(trace_id) != 32 or not HEX_DIGITS.issuperset(trace_id):
            raise field_invalid("trace_id", "must be 32 hexadecimal digits")
        trace = seen_trace(await self._traces.ask(lambda store: store.trace(trace_id)), caller)
        if not trace.spans:
            raise trace_not_found(trace_id)
        return trace_document(trace_id, trace)


def _credential(request: Request, scheme: str) -> str:
    """What follows the scheme in the header `authorization`; empty for another scheme."""
    found, _, value = request.headers.get("authorization", "").partition(" ")
    return value if found.lower() == scheme else ""


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > most:
        raise field_invalid(name, f"must be a whole number up to {most}")
    return int(text)


def _files() -> dict[str, Response]:
    """The page's files by name, read once: no name of a request ever reaches the disk."""
    return {
        file.name: Response(file.read_bytes(), KINDS[file.name[file.name.rindex(".") :]])
        for file in files("headrace.insight").joinpath("web").iterdir()
        if file.name.endswith(tuple(KINDS))
    }


def _json(document: Mapping[str, object], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(msgspec.json.encode(document), "application/json", status)
