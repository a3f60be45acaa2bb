"""Row 18 in full: a replica that fails every call is not asked more often for that."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import grpc
import pytest

from tests.contract.gateway.edge import INFER, Edge, raw
from tests.contract.gateway.replica import Reply, echo

STORM_S = 60.0


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_failing_replica_gets_no_storm(edge: Edge) -> None:
    """Row 18 for a minute: everything fails at once in every way, and the replica gets each call once (1.2 times allowed)."""
    numbers, ends, offered = count(), time.monotonic() + STORM_S, count()
    edge.replica.reply = lambda _seen: Reply(None, (2, 4, 8, 13, 14)[next(numbers) % 5], "no")
    metadata = tuple(edge.bearer().items())
    with edge.channel() as channel:
        method = raw(channel, INFER)

        def storm(_: int) -> None:
            while time.monotonic() < ends:
                next(offered)
                assert method.future(b"x", metadata=metadata, timeout=10).code() is not grpc.StatusCode.OK

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(storm, range(32)))
    edge.replica.reply = echo
    sent = next(offered)
    print(f"\n{sent} calls, {len(edge.replica.seen)} attempts")
    assert len(edge.replica.seen) == sent > 1000
