"""The web page of a real insight, as a browser, a stranger and another site's script ask for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import grpc
import httpx
import msgspec
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status as OtlpStatus
from prometheus_client import CollectorRegistry

from headrace.insight.absent import NoFigures
from headrace.insight.app import Insight, build
from headrace.insight.client import InsightClient
from headrace.insight.metrics import InsightMetrics
from headrace.insight.nostore import NoStore
from headrace.insight.page import METHOD, Page
from headrace.insight.settings import Settings
from headrace.insight.webserver import HEAD_BYTES, MOST_CONNECTIONS, Request
from headrace.runtime.access import OBSERVE, Access, TokenVerifier
from headrace.runtime.channels import open_channel
from headrace.runtime.clock import SystemClock
from headrace.runtime.revocation import RevokedTokens
from tests.contract.insight.conftest import Credentials
from tests.contract.insight.test_export import settled
from tests.fakes.insight import SECOND, otlp_request, otlp_span, trace_id

HOSTILE = """</script><img src=x onerror="document.title='owned'">"""


@pytest.fixture
async def insight(settings: Settings) -> AsyncIterator[Insight]:
    """A serving insight with its page."""
    async with build(replace(settings, web_listen="127.0.0.1:0")) as running:
        yield running


@pytest.fixture
def address(insight: Insight) -> str:
    assert isinstance(insight.links, Page)
    return insight.links.address


@pytest.fixture
async def http(address: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{address}") as client:
        yield client


async def session(http: httpx.AsyncClient, credentials: Credentials) -> dict[str, str]:
    """The header of a session that was begun with a token."""
    answer = await http.post("/session", headers=dict(credentials))
    return {"authorization": f"Session {answer.raise_for_status().json()['session']}"}


@pytest.mark.parametrize("path", ["/", "/traces/" + "a" * 32, "/static/main.js", "/api/overview", "/nothing"])
async def test_every_answer_is_confined(http: httpx.AsyncClient, path: str) -> None:
    """Errors too: nothing of another origin runs, frames it, reads it, or is asked; no cookie, no CORS."""
    headers = (await http.get(path, headers={"origin": "http://evil.example"})).headers
    policy = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "set-cookie" not in headers
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9680", "127.0.0.1.evil.example", "10.0.0.1", ""]
)
@pytest.mark.parametrize("path", ["/", "/api/overview", "/static/main.js"])
async def test_only_loopback_names_are_answered(
    http: httpx.AsyncClient, token: Callable[[str], Credentials], host: str, path: str
) -> None:
    """A site whose name was made to point here asks under its own name, and gets nothing, token or not."""
    answer = await http.get(path, headers={"host": host, **dict(token("observe"))})
    assert answer.status_code == 421
    assert "html" not in answer.text


@pytest.mark.parametrize("host", ["localhost:1234", "[::1]:9680", "127.0.0.1"])
async def test_each_loopback_name_is(http: httpx.AsyncClient, host: str) -> None:
    """At whatever port: a forwarded one differs from ours."""
    assert (await http.get("/", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("path", ["/api/overview", "/api/traces", "/api/traces/" + "a" * 32])
@pytest.mark.parametrize(
    ("authorization", "status"),
    [(None, 401), ("Session", 401), ("Session guessed", 401), ("Bearer x", 401), ("Link x", 401)],
)
async def test_what_is_shown_needs_a_session(
    http: httpx.AsyncClient, settings: Settings, token: Callable[[str], Credentials], path: str,
    authorization: str | None, status: int,
) -> None:  # fmt: skip
    """The page's files are open and tell nothing."""
    token("observe")  # writes the keys
    headers = {} if authorization is None else {"authorization": authorization}
    answer = await http.get(path, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (status, "UNAUTHENTICATED")


async def test_a_token_begins_a_session_and_the_session_ends(
    http: httpx.AsyncClient, token: Callable[[str], Credentials]
) -> None:
    """Only a token that may observe; the session is another secret than the token."""
    refused = await http.post("/session", headers=dict(token("infer operate")))
    assert (refused.status_code, refused.json()["reason"]) == (403, "SCOPE_MISSING")
    entered = await session(http, token("observe"))
    assert (await http.get("/api/traces", headers=entered)).json() == {"traces": []}
    assert (await http.post("/session/end", headers=entered)).status_code == 200
    assert (await http.get("/api/traces", headers=entered)).status_code == 401


@pytest.mark.parametrize("path", ["/api/overview", "/api/traces", "/api/traces/" + "a" * 32])
async def test_a_program_may_ask_with_its_token(
    http: httpx.AsyncClient, token: Callable[[str], Credentials], path: str
) -> None:
    """Under the same scope as the method that tells the same."""
    assert (await http.get(path, headers=dict(token("infer operate")))).status_code == 403
    assert (await http.get(path, headers=dict(token("observe")))).status_code in (200, 404, 409)


async def test_a_revoked_token_ends_its_session(
    settings: Settings, token: Callable[[str], Credentials]
) -> None:
    """What was begun with it is over with it."""
    clock = SystemClock()
    revocations = RevokedTokens(clock)
    revocations.replace(())
    verifier = TokenVerifier(settings.jwks)
    access = Access({f"{METHOD}GetOverview": OBSERVE, f"{METHOD}ListTraces": OBSERVE}, revocations)
    page = Page(NoStore(InsightMetrics(CollectorRegistry())), NoFigures(), verifier, access, clock)

    async def status(method: str, path: str, authorization: str) -> tuple[int, bytes]:
        answer = await page.answer(Request(method, path, {}, {"authorization": authorization}))
        return answer.status.value, answer.body

    ((_, bearer),) = token("observe")
    code, body = await status("POST", "/session", bearer)
    assert code == 200
    entered = f"Session {msgspec.json.decode(body)['session']}"
    assert (await status("GET", "/api/overview", entered))[0] == 409  # no figures here, but let in
    revocations.replace(("1",))
    code, body = await status("GET", "/api/overview", entered)
    assert (code, msgspec.json.decode(body)["reason"]) == (401, "TOKEN_REVOKED")


async def test_a_link_lets_in_once(
    http: httpx.AsyncClient, address: str, tcp: grpc.aio.Channel, token: Callable[[str], Credentials]
) -> None:
    """Its secret stands behind the '#', where browsers keep it to themselves."""
    url = await InsightClient(tcp, token("observe")).web_link()
    base, secret = url.split("#")
    assert base == f"http://{address}/"
    link = {"authorization": f"Link {secret}"}
    first, again = [await http.post("/session", headers=link) for _ in range(2)]
    assert (first.status_code, again.status_code) == (200, 401)
    entered = {"authorization": f"Session {first.json()['session']}"}
    assert (await http.get("/api/traces", headers=entered)).status_code == 200
    assert (await http.get("/api/traces", headers=link)).status_code == 401


async def test_without_a_page_there_is_no_link(
    settings: Settings, token: Callable[[str], Credentials]
) -> None:
    """The refusal names the setting."""
    async with build(settings) as running, open_channel(running.server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await InsightClient(channel, token("observe")).web_link()
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_hostile_names_stay_text(
    http: httpx.AsyncClient, insight: Insight, client: InsightClient, token: Callable[[str], Credentials]
) -> None:
    """What a client named its model is data of JSON that no browser takes for a page."""
    span = otlp_span(1, 1, start=SECOND, end=3 * SECOND)
    span.name = HOSTILE
    span.attributes.add(key="headrace.model").value.string_value = HOSTILE
    insight.ingest.offer(otlp_request(span, service="gateway"))
    insight.ingest.offer(otlp_request(otlp_span(2, 1), otlp_span(3, 1)))
    await settled(insight)
    entered = await session(http, token("observe operate"))
    answer = await http.get("/api/traces", params={"model": HOSTILE}, headers=entered)
    assert answer.headers["content-type"] == "application/json"
    (found,) = answer.json()["traces"]
    assert (found["name"], found["model"]) == (HOSTILE, HOSTILE)
    trace = (await http.get(f"/api/traces/{trace_id(1).hex()}", headers=entered)).json()
    assert trace["rows"][0]["attributes"] == {"headrace.model": HOSTILE}


async def test_a_tenants_observer_sees_what_is_its_own(
    http: httpx.AsyncClient, insight: Insight, client: InsightClient, token: Callable[[str], Credentials]
) -> None:
    """As by the contract: lists and traces of the page are no way around it."""
    insight.ingest.offer(otlp_request(otlp_span(1, 1, tenant="acme"), service="gateway"))
    insight.ingest.offer(otlp_request(otlp_span(2, 1, tenant="other"), service="gateway"))
    await settled(insight)
    own, all_of_them = await session(http, token("observe")), await session(http, token("observe operate"))
    for entered, expected in ((own, {1}), (all_of_them, {1, 2})):
        listed = (await http.get("/api/traces", headers=entered)).json()["traces"]
        assert {int(one["trace_id"], 16) for one in listed} == expected
        for number in (1, 2):
            answer = await http.get(f"/api/traces/{trace_id(number).hex()}", headers=entered)
            assert answer.status_code == (200 if number in expected else 404)


async def test_traces_are_found_as_one_looks_for_them(
    http: httpx.AsyncClient, insight: Insight, client: InsightClient, token: Callable[[str], Credentials]
) -> None:
    """Those that came through the gateway, or all; slow ones, failed ones."""
    insight.ingest.offer(otlp_request(otlp_span(1, 1, end=3 * SECOND), otlp_span(2, 1), service="gateway"))
    failed = otlp_span(3, 1)
    failed.status.code = OtlpStatus.STATUS_CODE_ERROR
    insight.ingest.offer(otlp_request(failed))
    await settled(insight)
    entered = await session(http, token("observe operate"))

    async def found(**query: str) -> set[int]:
        answer = await http.get("/api/traces", params=query, headers=entered)
        return {int(one["trace_id"], 16) for one in answer.json()["traces"]}

    assert await found() == {1, 2}
    assert await found(all="1") == {1, 2, 3}
    assert await found(all="1", failed="1") == {3}
    assert await found(min_ms="1500") == {1}


@pytest.mark.parametrize(
    "query", ["limit=201", "limit=-1", "limit=1e3", "min_ms=9999999999", "min_ms=x", "limit=²"]
)
async def test_questions_are_bounded(
    http: httpx.AsyncClient, token: Callable[[str], Credentials], query: str
) -> None:
    """A number that is none, or is too large, is refused with its name."""
    answer = await http.get(f"/api/traces?{query}", headers=await session(http, token("observe operate")))
    assert (answer.status_code, answer.json()["reason"]) == (400, "FIELD_INVALID")
    assert query.split("=", maxsplit=1)[0] in answer.json()["error"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * HEAD_BYTES + b"\r\n\r\n", 431),
        (b"POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", 413),
        (b"POST /session HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 421),
        (b"PUT / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"OPTIONS /session HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n", 405),
        (b"GET /static/../settings.py HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /static/..%2fsettings.py HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /static/%2e%2e/settings.py HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"nonsense\r\n\r\n", 400),
    ],
)
async def test_what_a_browser_would_not_send(address: str, head: bytes, status: int) -> None:
    """Is refused, and the connection closed behind it."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head)
    async with asyncio.timeout(10):
        answer = await reader.read(-1)
    writer.close()
    assert int(answer.split(b" ", 2)[1]) == status
    assert b"content-security-policy" in answer


async def test_connections_are_bounded(address: str, http: httpx.AsyncClient) -> None:
    """One more than there is room for is closed unheard; room that comes free is used again."""
    host, port = address.split(":")
    held = [await asyncio.open_connection(host, int(port)) for _ in range(MOST_CONNECTIONS)]
    with pytest.raises(httpx.TransportError):
        await http.get("/")
    for _, writer in held:
        writer.close()
    async with asyncio.timeout(10):
        while True:
            try:
                assert (await http.get("/")).status_code == 200
                break
            except httpx.TransportError:
                await asyncio.sleep(0.05)
