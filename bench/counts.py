"""What really happened in a run: `grpc-status` at the gateway, executions at the model.

A run is void unless every request of it ended with `grpc-status` 0 and, where
a model served it, was executed: load that is refused, or answered by a cache,
is fast and measures nothing.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from bench.calls import executed_rows
from bench.target import Target

SETTLE_S = 2.0


class RunVoid(Exception):
    """The run can't be used, and why."""


@contextmanager
def counted(target: Target, requests: int, model: str = "", *, cached: bool = False) -> Iterator[None]:
    """Around a run of `requests` requests; raises `RunVoid` unless all succeeded.

    With a `model`, it must also have executed as many rows; none when they are `cached`.
    """
    rows = executed_rows(target, model) if model else 0
    before = statuses(target)
    yield
    await_statuses(target, before, requests)
    expected = 0 if cached or not model else requests
    executed = executed_rows(target, model) - rows if model else 0
    if executed != expected:
        raise RunVoid(f"{target.name}: {requests} requests, but {model} executed {executed} rows")


def statuses(target: Target) -> Counter[str]:
    """Answers by `grpc-status`, of the cluster that only ModelInfer uses during a run."""
    transport = httpx.HTTPTransport(uds=str(target.admin))
    pattern = rf"^cluster\.{target.cluster}\.grpc\.\d+$"
    with httpx.Client(transport=transport, base_url="http://envoy") as client:
        answer = client.get("/stats", params={"format": "json", "filter": pattern}).raise_for_status()
    stats = [stat for stat in json.loads(answer.text)["stats"] if "name" in stat]
    return Counter({stat["name"].rpartition(".")[2]: stat["value"] for stat in stats})


def await_statuses(target: Target, before: Counter[str], requests: int) -> None:
    """Raises `RunVoid` unless so many ended since `before`, all with status 0."""
    seen = ended(target, before, requests)
    if seen != Counter({"0": requests}):
        raise RunVoid(f"{target.name}: {requests} requests, but grpc-status was {dict(seen)}")


def ended(target: Target, before: Counter[str], requests: int) -> Counter[str]:
    """The statuses of the `requests` that ended since `before`, or of those that are there in time.

    Envoy merges its workers' counters after the answer: asks until they are there.
    """
    until = time.monotonic() + SETTLE_S
    while (seen := statuses(target) - before).total() != requests and time.monotonic() < until:
        time.sleep(0.1)
    return seen
