"""Deadlines, limits and paths of calls through the gateway; row 20."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from headrace.local.endpoints import write_files
from headrace.local.gateway import GatewaySettings
from tests.contract.gateway.edge import INFER, Edge, edge_of, infer, raw
from tests.contract.gateway.replica import Reply, echo
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def tight() -> Iterator[Edge]:
    """A gateway whose limits a test can reach."""
    settings = GatewaySettings(
        Path(),
        Path(),
        tenant_rate=5,
        address_rate=40,
        max_deadline_s=0.5,
        cors_origins=("https://app.example",),
    )
    with edge_of(settings) as edge:
        yield edge


def test_the_deadline_reaches_the_replica(edge: Edge) -> None:
    """Row 20: grpc-timeout arrives upstream, no longer than the client's."""
    assert infer(edge, timeout=2.0) is grpc.StatusCode.OK
    (timeout,) = edge.replica.seen[0].values("grpc-timeout")
    assert timeout.endswith("m")
    assert 0 < int(timeout[:-1]) <= 2010  # grpcio itself rounds up to 10 ms


def test_a_late_answer_is_not_waited_for(tight: Edge) -> None:
    """max_deadline_s ends a call whose client would wait longer: DEADLINE_EXCEEDED, 504."""
    tight.replica.reply = lambda _seen: Reply(b"late", after_s=3.0)
    begun = time.monotonic()
    assert infer(tight, timeout=10.0) is grpc.StatusCode.DEADLINE_EXCEEDED
    with tight.http() as http:
        answer = http.get("/v2", headers=tight.bearer())
    assert (answer.status_code, list(answer.json())) == (504, ["error"])
    assert time.monotonic() - begun < 2.5
    assert len(tight.replica.seen) == 2, "neither was tried again"
    tight.replica.reply = echo


def test_a_tenant_over_its_rate_is_told_so(tight: Edge) -> None:
    """RESOURCE_EXHAUSTED over gRPC, 429 with Retry-After and `error` over REST; another tenant goes on."""
    eventually(lambda: limited(tight, tight.token), "the bucket is empty", within_s=5)
    answer = limited(tight, tight.token)
    assert answer is not None
    assert answer.headers["retry-after"] == "1"
    assert list(answer.json()) == ["error"]
    codes = {infer(tight) for _ in range(8)}
    assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
    other = tight.keys.issue("other", ["infer"], 60).text
    with tight.http() as http:
        assert http.get("/v2", headers={"authorization": f"Bearer {other}"}).status_code == 200


def limited(edge: Edge, token: str) -> httpx.Response | None:
    with edge.http() as http:
        answers = [http.get("/v2", headers={"authorization": f"Bearer {token}"}) for _ in range(8)]
    return next((answer for answer in answers if answer.status_code == 429), None)


def test_many_tenants_do_not_refill_a_bucket() -> None:
    """Envoy keeps 20 buckets by default, and one that was dropped begins full again."""
    with edge_of(GatewaySettings(Path(), Path(), tenant_rate=1)) as edge, edge.http() as http:

        def status(token: str) -> int:
            return http.get("/v2", headers={"authorization": f"Bearer {token}"}).status_code

        others = [edge.keys.issue(f"t{number}", ["infer"], 60).text for number in range(40)]
        for token in others:  # fills the token cache: the second round is quick
            status(token)

        def still_empty() -> bool:
            begun = time.monotonic()
            status(edge.token)
            for token in others:
                status(token)
            refused = status(edge.token) == 429
            assert refused or time.monotonic() - begun >= 1.0, "the bucket was full before a second was over"
            return refused

        eventually(still_empty, "all of it within a second")


def test_an_address_over_its_rate_is_refused_before_its_token_is_read(tight: Edge) -> None:
    """A flood without a token costs no signature check: 429 in place of 401."""
    with tight.http() as http:
        statuses = [http.get("/v2").status_code for _ in range(200)]
    assert set(statuses) == {401, 429}
    denied = tight.stats("jwt_authn.denied")["http.edge.jwt_authn.denied"]
    assert denied < 150
    # The next test shares the address.
    eventually(lambda: infer(tight) is not grpc.StatusCode.RESOURCE_EXHAUSTED, "the bucket fills again")


def test_a_replica_taken_out_gets_no_more_calls(edge: Edge) -> None:
    """The endpoints file is what counts, even while the replica is healthy; back in, it serves again."""
    write_files(edge.settings.config_dir, [], "2")
    eventually(lambda: "hot.sock" not in edge.admin("/clusters"), "Envoy has taken the change")
    try:
        assert infer(edge) is grpc.StatusCode.UNAVAILABLE
        with edge.http() as http:
            answer = http.get("/v2", headers=edge.bearer())
        assert (answer.status_code, list(answer.json())) == (503, ["error"])
        assert edge.replica.seen == []
    finally:
        write_files(edge.settings.config_dir, edge.endpoints, "3")
    eventually(lambda: infer(edge) is grpc.StatusCode.OK, "the replica serves again")


def test_the_rest_of_the_contract_goes_over_http2(edge: Edge) -> None:
    """Everything but ModelInfer and REST reaches the replica's grpc.aio side; no other service is reached."""
    paths = [
        "/inference.GRPCInferenceService/ServerLive",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ]
    assert [infer(edge, path=path) for path in paths] == [grpc.StatusCode.OK] * 2
    assert [path for path, _ in edge.grpc_side.seen] == paths
    assert dict(edge.grpc_side.seen[0][1])["x-tenant-id"] == "acme"
    for path in ("/headrace.local.v1.SupervisorService/Stop", "/headrace.insight.v1.InsightService/Query"):
        assert infer(edge, path=path) is grpc.StatusCode.UNIMPLEMENTED
    assert edge.replica.seen == []


@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 8_000_000])
def test_a_grpc_message_of_any_size_passes(edge: Edge, size: int) -> None:
    """The gateway streams gRPC, so its buffers limit nothing: the replica's limit is the only one."""
    with edge.channel() as channel:
        message = bytes(size)
        assert raw(channel, INFER)(message, metadata=tuple(edge.bearer().items()), timeout=20) == message


def test_the_script_for_rest_errors_costs_grpc_nothing(edge: Edge) -> None:
    """Lua runs for REST answers only: its routes switch it off."""

    def executions() -> int:
        return edge.stats("lua.executions")["http.edge.lua.executions"]

    before = executions()
    assert infer(edge) is grpc.StatusCode.OK
    assert infer(edge, path="/inference.GRPCInferenceService/ServerLive") is grpc.StatusCode.OK
    assert executions() == before
    with edge.http() as http:
        http.get("/v2", headers=edge.bearer())
    assert executions() == before + 1


def test_the_access_log_tells_who_called_what(tmp_path: Path) -> None:
    """One JSON line a request, for REST with the path that the client asked for; no token in it."""
    log = tmp_path / "access.log"
    with edge_of(GatewaySettings(Path(), Path(), access_log=log)) as edge:
        infer(edge)
        with edge.http() as http:
            http.get("/v2/models/m", headers=edge.bearer())

        def two_lines() -> list[dict[str, object]] | None:
            lines = log.read_text().splitlines()
            return [json.loads(line) for line in lines] if len(lines) == 2 else None

        grpc_line, rest_line = eventually(two_lines, "Envoy writes its log", within_s=15)
        assert edge.token not in log.read_text()
    assert (grpc_line["path"], grpc_line["tenant"], grpc_line["grpc_status"]) == (INFER, "acme", 0)
    assert (rest_line["path"], rest_line["status"]) == ("/v2/models/m", 200)


def test_over_h2_everything_goes_to_grpc_aio() -> None:
    """hot_path: h2 leaves the hot socket alone, with the same answers."""
    with edge_of(GatewaySettings(Path(), Path(), hot_path="h2")) as edge:
        assert infer(edge) is grpc.StatusCode.OK
        with edge.http() as http:
            assert http.get("/v2", headers=edge.bearer()).json() == {"live": True}
        assert len(edge.grpc_side.seen) == 2
        assert edge.replica.seen == []
