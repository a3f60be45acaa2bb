"""Row 23: identity comes from the token alone, whatever a client sends."""

import socket
import time

import grpc
import jwt
import pytest

from headrace.local.keys import Issued, claims_of, keys_of
from tests.contract.gateway import wire
from tests.contract.gateway.edge import INFER, Edge, raw
from tests.contract.gateway.replica import Seen
from tests.support.waiting import eventually

IDENTITY = ("x-tenant-id", "x-headrace-scopes", "x-headrace-token-id")

FORGED = {
    "plain": [("x-tenant-id", "victim"), ("x-headrace-scopes", "operate"), ("x-headrace-token-id", "t")],
    "duplicate": [("x-tenant-id", "victim"), ("x-tenant-id", "acme"), ("x-tenant-id", "victim")],
    "comma": [("x-tenant-id", "acme,victim"), ("x-headrace-scopes", "infer,operate")],
    "binary": [("x-tenant-id-bin", "dmljdGlt"), ("x-headrace-scopes-bin", "b3BlcmF0ZQ==")],
    "other": [
        ("x-headrace-anything", "victim"),
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-original-path", "victim"),
    ],
    "connection": [("x-tenant-id", "victim"), ("te", "trailers")],
}


def forged(seen: Seen) -> list[str]:
    """What of the request is not what the token says."""
    names = [name for name, _ in seen.headers if name.startswith(("x-tenant-id", "x-headrace-", "x-envoy-"))]
    assert sorted(names) == sorted(IDENTITY), names
    assert [seen.values(name) for name in IDENTITY[:2]] == [["acme"], ["infer observe"]]
    return [text for _, text in seen.headers if "victim" in text or "operate" in text] + list(seen.trailers)


@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED)
def test_no_client_header_names_a_tenant_over_grpc(edge: Edge, headers: list[tuple[str, str]]) -> None:
    """Each form of a forged identity header is gone when the call reaches a replica."""
    sent = [(name.encode(), value.encode()) for name, value in [*edge.bearer().items(), *headers]]
    wire.call(edge.address, INFER, sent, b"hello")
    assert [forged(seen) for seen in edge.replica.seen] == [[]]


@pytest.mark.parametrize("spelling", ["X-Tenant-Id", "X-TENANT-ID", "x-TENANT-id"])
def test_no_spelling_of_the_header_names_a_tenant_over_http1(edge: Edge, spelling: str) -> None:
    """HTTP/1 names may be in any case; none gets through."""
    with edge.http() as http:
        assert http.get("/v2", headers={**edge.bearer(), spelling: "victim"}).status_code == 200
    (seen,) = edge.replica.seen
    assert seen.values("x-tenant-id") == ["acme"]
    assert "victim" not in str(seen.headers)


def test_an_underscore_does_not_spell_the_header(edge: Edge) -> None:
    """x_tenant_id is refused: some servers would read it as x-tenant-id."""
    with edge.http() as http:
        assert http.get("/v2", headers={**edge.bearer(), "x_tenant_id": "victim"}).status_code == 400
    wire.call(
        edge.address,
        INFER,
        [(b"authorization", f"Bearer {edge.token}".encode()), (b"x_tenant_id", b"victim")],
        b"hello",
    )
    assert edge.replica.seen == []


def test_trailers_do_not_reach_a_replica(edge: Edge) -> None:
    """Trailers pass by every filter that looks at headers, so all of them are removed."""
    sent = [(name.encode(), value.encode()) for name, value in edge.bearer().items()]
    trailers = [(b"x-tenant-id", b"victim"), (b"x-headrace-scopes", b"operate"), (b"anything", b"victim")]
    wire.call(edge.address, INFER, sent, b"hello", trailers)
    assert [(seen.message, forged(seen)) for seen in edge.replica.seen] == [(b"hello", [])]


def test_trailers_do_not_reach_a_replica_over_http1(edge: Edge) -> None:
    """The same of a chunked body's trailers."""
    host, _, port = edge.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {edge.token}\r\n"
            "transfer-encoding: chunked\r\nconnection: close\r\ntrailer: x-tenant-id\r\n\r\n"
            "2\r\n{}\r\n0\r\nx-tenant-id: victim\r\n\r\n".encode()
        )
        while connection.recv(65536):
            pass
    (seen,) = edge.replica.seen
    assert seen.values("x-tenant-id") == ["acme"]
    assert seen.trailers == ()


def test_the_token_stays_at_the_edge(edge: Edge) -> None:
    """A replica never sees a credential that it could leak."""
    with edge.channel() as channel:
        raw(channel, INFER)(b"hello", metadata=tuple(edge.bearer().items()), timeout=5)
    (seen,) = edge.replica.seen
    assert edge.token not in str(seen.headers)
    assert seen.values("authorization") == []


@pytest.mark.parametrize(
    "token", [None, "Bearer", "Bearer x.y.z", "Basic YTpi", "TAMPERED", "Bearer  TOKEN extra"], ids=str
)
def test_without_a_good_token_nothing_passes(edge: Edge, token: str | None) -> None:
    """No token or a bad one: 401 for REST, UNAUTHENTICATED for gRPC, nothing upstream."""
    if token == "TAMPERED":
        head, _, signature = edge.token.rpartition(".")
        token = f"Bearer {head}.{signature[::-1]}"
    headers = {} if token is None else {"authorization": token}
    with edge.http() as http:
        for path in ("/v2", "/v2/health/live", "/nope", "/v2/models/m"):
            assert http.get(path, headers=headers).status_code == 401
    with edge.channel() as channel:
        for method in (
            INFER,
            "/inference.GRPCInferenceService/ServerLive",
            "/grpc.health.v1.Health/Watch",
            "/x.Y/Z",
        ):
            with pytest.raises(grpc.RpcError) as caught:
                raw(channel, method)(b"", metadata=tuple(headers.items()), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert edge.replica.seen == []
    assert edge.grpc_side.seen == []


def crafted(edge: Edge, algorithm: str = "ES256", **changed: object) -> str:
    """A token by our own key whose claims differ from what the key store writes; None leaves one out."""
    issued = Issued("j", "acme", ("infer", "observe"), int(time.time()), int(time.time()) + 60, "")
    claims = {key: value for key, value in {**claims_of(issued), **changed}.items() if value is not None}
    kid = keys_of(edge.keys.jwks())[0]["kid"]
    private = (edge.keys.jwks_path.parent / f"{kid}.pem").read_bytes()
    secrets: dict[str, bytes | str] = {"ES256": private, "none": "", "HS256": kid}
    return jwt.encode(claims, secrets[algorithm], algorithm=algorithm, headers={"kid": kid})


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "somebody"},
        {"iss": None},
        {"aud": "somebody"},
        {"aud": None},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"nbf": 4_000_000_000},
        {"algorithm": "none"},
        {"algorithm": "HS256"},
    ],
    ids=str,
)
def test_a_token_for_something_else_is_refused(edge: Edge, changed: dict[str, str]) -> None:
    """Issuer, audience, expiry and algorithm are checked, not the signature alone."""
    with edge.http() as http:
        good = http.get("/v2", headers={"authorization": f"Bearer {crafted(edge)}"})
        bad = http.get("/v2", headers={"authorization": f"Bearer {crafted(edge, **changed)}"})
    assert (good.status_code, bad.status_code) == (200, 403 if "aud" in changed else 401)
    assert bad.headers["content-type"] == "application/json"
    assert list(bad.json()) == ["error"]


def test_two_authorization_headers_do_not_mix_identities(edge: Edge) -> None:
    """Of two tokens at most one counts, and its tenant only."""
    other = edge.keys.issue("victim", ["infer", "operate"], 60).text
    sent = [(b"authorization", f"Bearer {token}".encode()) for token in (edge.token, other)]
    wire.call(edge.address, INFER, sent, b"hello")
    for seen in edge.replica.seen:
        assert len(seen.values("x-tenant-id")) == 1
        assert seen.values("x-headrace-scopes") in (["infer observe"], ["infer operate"])


def test_a_token_in_the_url_is_not_taken(edge: Edge) -> None:
    """URLs end in logs: ?access_token= is no way in."""
    with edge.http() as http:
        assert http.get("/v2", params={"access_token": edge.token}).status_code == 401


def test_a_rotated_key_is_known_and_the_old_one_still(edge: Edge) -> None:
    """A token of a new key passes within the refresh; those of the old key go on."""
    edge.keys.rotate()
    fresh = edge.keys.issue("acme", ["infer", "observe"], 60).text

    def passes() -> bool:
        with edge.http() as http:
            return http.get("/v2", headers={"authorization": f"Bearer {fresh}"}).status_code == 200

    eventually(passes, "the gateway knows the new key", within_s=15)
    with edge.http() as http:
        assert http.get("/v2", headers=edge.bearer()).status_code == 200


def test_health_checks_need_no_token(edge: Edge) -> None:
    """Probes have none: grpc.health.v1.Health/Check answers to everybody."""
    with edge.channel() as channel:
        assert raw(channel, "/grpc.health.v1.Health/Check")(b"", timeout=5) == b"\x08\x01"


def test_request_ids_are_ours(edge: Edge) -> None:
    """A client can't choose the id under which its usage is booked."""
    with edge.http() as http:
        answer = http.get("/v2", headers={**edge.bearer(), "x-request-id": "mine"})
    (seen,) = edge.replica.seen
    assert "mine" not in answer.headers["x-request-id"]
    assert seen.values("x-request-id") == [answer.headers["x-request-id"]]


def test_request_ids_are_ours_on_the_hot_path(edge: Edge) -> None:
    """Each call has one id of the edge's, whatever its client sends, and two calls have two: usage is billed by it."""
    mine = [("x-request-id", "mine"), ("x-request-id", "00000000-0000-4000-8000-000000000000")]
    sent = [(name.encode(), value.encode()) for name, value in [*edge.bearer().items(), *mine]]
    for _ in range(2):
        wire.call(edge.address, INFER, sent, b"hello")
    first, second = (seen.values("x-request-id") for seen in edge.replica.seen)
    assert len(first) == len(second) == 1
    assert first != second
    assert not {*first, *second} & {value for _, value in mine}


def test_an_idempotency_key_reaches_the_replica(edge: Edge) -> None:
    """The client's own key for what it wants to be billed for once, over gRPC and over REST."""
    key = {"idempotency-key": "order-7"}
    sent = [(name.encode(), value.encode()) for name, value in {**edge.bearer(), **key}.items()]
    wire.call(edge.address, INFER, sent, b"hello")
    with edge.http() as http:
        http.get("/v2", headers={**edge.bearer(), **key})
    assert [seen.values("idempotency-key") for seen in edge.replica.seen] == [["order-7"], ["order-7"]]
