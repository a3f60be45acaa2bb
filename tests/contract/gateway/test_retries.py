"""Calls that no replica answered, and replicas that do not answer; rows 18 and 37."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from tests.contract.gateway.edge import INFER, Edge, infer, raw
from tests.contract.gateway.replica import Reply, echo
from tests.support.waiting import eventually

BROKEN = "cluster.inference-hot.outlier_detection.ejections_enforced_consecutive_local_origin_failure"


def ejections(edge: Edge) -> dict[str, int]:
    """Ejections that happened, by cluster and cause."""
    counted = edge.stats("outlier_detection.ejections_(enforced|active)")
    return {name: value for name, value in counted.items() if value}


def test_a_call_that_no_replica_answered_is_tried_again(edge: Edge) -> None:
    """A connection that breaks before an answer is retried; the client notices nothing."""
    edge.replica.drop_next = 1
    assert infer(edge) is grpc.StatusCode.OK
    assert [seen.message for seen in edge.replica.seen] == [b"hello"] * 2
    first, second = (seen.values("x-request-id") for seen in edge.replica.seen)
    assert first == second


def test_a_call_is_not_tried_for_ever(edge: Edge) -> None:
    """Two retries, then UNAVAILABLE; REST gets the same as 503 with `error`."""
    edge.replica.drop_next = 3
    assert infer(edge) is grpc.StatusCode.UNAVAILABLE
    assert len(edge.replica.seen) == 3
    recover(edge)
    edge.replica.drop_next = 3
    with edge.http() as http:
        answer = http.get("/v2", headers=edge.bearer())
    assert (answer.status_code, list(answer.json())) == (503, ["error"])
    recover(edge)


def test_a_replica_that_cannot_be_reached_is_left_alone(edge: Edge) -> None:
    """Failed connections eject it, no call fails meanwhile, and it comes back."""
    before = ejections(edge).get(BROKEN, 0)
    edge.replica.reply = lambda _seen: Reply(b"", after_s=0.02)
    hidden = edge.endpoints[1].hot_socket
    assert hidden
    away = hidden.rename(hidden.with_suffix(".away"))
    try:
        with ThreadPoolExecutor(32) as pool:
            codes = set(pool.map(lambda _: infer(edge), range(96)))
    finally:
        away.rename(hidden)
    assert codes == {grpc.StatusCode.OK}
    assert ejections(edge).get(BROKEN, 0) > before
    edge.replica.reply = echo
    recover(edge)


def test_a_retry_goes_to_another_replica(edge: Edge) -> None:
    """A replica that can't be reached has nothing to do, and so is whom the least busy one is looked for among: a call
    that met it must not be sent there again, and again, until it fails."""
    edge.replica.reply = lambda _seen: Reply(b"", after_s=0.03)
    hidden = edge.endpoints[1].hot_socket
    assert hidden
    codes: list[grpc.StatusCode] = []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(80):
            away = hidden.rename(hidden.with_suffix(".away"))
            try:
                codes += pool.map(lambda _: infer(edge), range(2))
            finally:
                away.rename(hidden)
            eventually(lambda: not ejections_active(edge), "ejected no longer")
    assert Counter(codes) == {grpc.StatusCode.OK: 160}
    edge.replica.reply = echo
    recover(edge)


def recover(edge: Edge) -> None:
    """Waits until no replica is ejected, with no failure on any one's account."""
    eventually(lambda: edge.stats("ejections_active") and not ejections_active(edge), "ejected no longer")
    assert {infer(edge) for _ in range(8)} == {grpc.StatusCode.OK}
    edge.replica.seen.clear()


def ejections_active(edge: Edge) -> int:
    return sum(edge.stats("ejections_active").values())


@pytest.mark.parametrize("headers", [{}, {"x-envoy-ratelimited": "true"}], ids=["failed", "refused"])
@pytest.mark.parametrize("status", [4, 8, 13, 14])
def test_what_a_replica_answers_is_final(edge: Edge, status: int, headers: dict[str, str]) -> None:
    """Row 18: a refusal or a failure that was answered is never retried."""
    edge.replica.reply = lambda _seen: Reply(None, status, "no", headers)
    for _ in range(20):
        assert infer(edge) is not grpc.StatusCode.OK
    assert len(edge.replica.seen) == 20


PROVOKED = {
    "deadlines": lambda number: Reply(b"", after_s=0.003 * (number % 3)),
    "unknown methods": lambda _number: Reply(None, 12, "no such method"),
    "failures": lambda number: Reply(None, (2, 4, 8, 13, 14)[number % 5], "no"),
    "cancels": lambda _number: Reply(b"", after_s=0.01),
}


@pytest.mark.parametrize("how", PROVOKED)
def test_no_client_can_eject_a_replica(edge: Edge, how: str) -> None:
    """Row 37: 1,000 calls of a kind, none of which another kind's success interrupts, eject nobody."""
    before = ejections(edge)
    numbers = iter(range(10_000))
    edge.replica.reply = lambda _seen: PROVOKED[how](next(numbers))
    metadata = tuple(edge.bearer().items())
    with edge.channel() as channel:
        method = raw(channel, INFER)

        def provoke(_: int) -> None:
            call = method.future(b"x", metadata=metadata, timeout=0.001 if how == "deadlines" else 10)
            if how == "cancels":
                call.cancel()
            else:
                call.exception()

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(provoke, range(1000)))
    edge.replica.reply = echo
    assert ejections(edge) == before
    assert infer(edge) is grpc.StatusCode.OK
