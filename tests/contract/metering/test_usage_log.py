"""A replica's log and a real metering: nothing is lost, nothing comes twice."""

import asyncio
from pathlib import Path

from headrace.metering.app import Metering, build
from headrace.metering.client import Cost, UsageLog, metering_usage, sweep
from headrace.metering.outbox import Outbox
from headrace.metering.reader import LedgerReader
from headrace.metering.settings import Settings
from headrace.runtime.telemetry import quiet
from tests.fakes.metering import event, keys
from tests.support.recorder import killed_recorder, stored

TOLD = Cost(compute=1, network=10, storage=0, api=1_000_000, currency="USD")


def record(usage: UsageLog, count: int) -> Cost | None:
    """Records so many events, and says what the last one's tenant was told."""
    cost = None
    for _ in range(count):
        assert usage.reserve()
        cost = usage.record(event())
    return cost


async def until_priced(usage: UsageLog) -> None:
    """Until metering has told its prices."""
    while record(usage, 1) is None:  # noqa: ASYNC110 - as its callers, who have no event either
        await asyncio.sleep(0.01)


async def until_sent(usage: UsageLog) -> None:
    """Until metering has everything."""
    while usage.pending:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.01)


async def test_what_a_client_is_told_is_what_the_ledger_charges(
    metering: Metering, ledger: LedgerReader, target: str, tmp_path: Path
) -> None:
    """And when the process has ended in order, nothing of its outbox is left."""
    async with metering_usage(target, tmp_path / "outbox", "replica-0", quiet()[0]) as usage:
        await until_priced(usage)
        assert record(usage, 5000) == TOLD
    events = ledger.audit().events
    (row,) = ledger.costs(0, 2**62, "USD", by_tenant=True, by_model=True)
    assert ledger.audit().sound
    assert row.requests == events >= 5001
    assert row.cost.total == TOLD.total * events
    assert list((tmp_path / "outbox").iterdir()) == []


async def test_usage_waits_for_metering(settings: Settings, target: str, tmp_path: Path) -> None:
    """Metering that is not there costs nobody anything; when it comes, it gets everything once."""
    async with metering_usage(target, tmp_path / "outbox", "replica-0", quiet()[0]) as usage:
        assert record(usage, 100) is None
        async with build(settings):
            await until_sent(usage)
    assert LedgerReader(settings.ledger).audit().events == 100


async def test_metering_may_restart_under_load(settings: Settings, target: str, tmp_path: Path) -> None:
    """Every event is stored once, whichever metering took it; ending it takes no grace."""
    async with metering_usage(target, tmp_path / "outbox", "replica-0", quiet()[0]) as usage:
        for _ in range(3):
            async with build(settings):
                record(usage, 700)
                await asyncio.sleep(0.12)
                record(usage, 700)
                begun = asyncio.get_running_loop().time()
            assert asyncio.get_running_loop().time() - begun < settings.drain_grace_s
        async with build(settings):
            await until_sent(usage)
    audit = LedgerReader(settings.ledger).audit()
    assert audit.sound
    assert audit.events == 4200


async def test_a_full_outbox_refuses(target: str, tmp_path: Path) -> None:
    """Without metering there is room for so many, and then for none; what was not used can be used."""
    telemetry = quiet()[0]
    async with metering_usage(
        target, tmp_path / "outbox", "r", telemetry, max_events=1, flush_s=0.0, sync=True
    ) as usage:
        count = 0
        while usage.reserve():
            count += 1
        assert count == 2 * 16_384
        usage.cancel()
        assert usage.reserve()
        usage.record(event())
        assert telemetry.registry.get_sample_value("headrace_usage_pending_events") == 1


async def test_the_sweeper_takes_what_is_left(
    metering: Metering, ledger: LedgerReader, target: str, tmp_path: Path
) -> None:
    """Outboxes whose owner is gone are drained and removed; a living one's is left alone."""
    root = tmp_path / "outbox"
    async with metering_usage("unix:/nowhere", root, "gone", quiet()[0], flush_s=0.0) as usage:
        record(usage, 20_000)
    async with metering_usage("unix:/nowhere", root, "living", quiet()[0], flush_s=0.0) as usage:
        record(usage, 10)
        assert await sweep(root, target) == 20_000
        assert [path.name[:6] for path in root.iterdir()] == ["living"]
    assert ledger.audit().events == 20_000
    assert await sweep(root, target) == 10
    assert await sweep(root, target) == 0
    assert ledger.audit().sound


async def test_a_replayed_outbox_changes_nothing(
    metering: Metering, ledger: LedgerReader, target: str, tmp_path: Path
) -> None:
    """All of it comes again, from the first event: metering skips what it has."""
    copies = []
    for incarnation in ("first", "copy"):
        outbox = Outbox(tmp_path / incarnation, "r", "same", max_events=1)
        for key in keys(range(3000)):
            outbox.reserve()
            outbox.append(event(key), 1)
        outbox.close()
        copies.append(await sweep(tmp_path / incarnation, target))
        found = ledger.costs(0, 2**62, "USD", by_tenant=True, by_model=True)
        assert [(row.requests, row.wasted_requests) for row in found] == [(3000, 0)]
    assert copies == [3000, 3000]
    assert ledger.audit().sound


async def test_rows_that_the_power_took_are_counted(
    metering: Metering, ledger: LedgerReader, target: str, tmp_path: Path
) -> None:
    """What is whole on the disk is recorded, before a hole and after it."""
    outbox = Outbox(tmp_path / "outbox", "r", "1", max_events=1)
    for _ in range(100):
        outbox.reserve()
        outbox.append(event(), 1)
    outbox.close()
    (file,) = outbox.path.glob("*.rows")
    data = bytearray(file.read_bytes())
    data[112 * 40 : 112 * 45] = bytes(112 * 5)
    file.write_bytes(data)
    assert await sweep(tmp_path / "outbox", target) == 95
    assert ledger.audit().sound
    assert metering.telemetry.registry.get_sample_value("headrace_metering_events_lost_total") == 5


async def test_an_outbox_that_can_not_be_read_stays(
    metering: Metering, ledger: LedgerReader, target: str, tmp_path: Path
) -> None:
    """The others are drained; it waits for somebody to look at it."""
    root = tmp_path / "outbox"
    for source in ("a", "b"):
        outbox = Outbox(root, source, "1", max_events=1)
        outbox.reserve()
        outbox.append(event(), 1)
        outbox.close()
    (root / "a-1" / "names").write_text("{")
    assert await sweep(root, target) == 1
    assert [path.name for path in root.iterdir()] == ["a-1"]
    assert ledger.audit().events == 1


async def test_a_sweep_without_metering_ends(tmp_path: Path) -> None:
    """Within its time, and with everything still there."""
    outbox = Outbox(tmp_path, "a", "1", max_events=1)
    outbox.reserve()
    outbox.append(event(), 1)
    outbox.close()
    assert await sweep(tmp_path, "unix:/nowhere", deadline_s=0.5) == 0
    assert await sweep(tmp_path / "none", "unix:/nowhere") == 0
    assert outbox.path.exists()


async def test_kill_9_loses_no_record(
    metering: Metering, ledger: LedgerReader, settings: Settings, target: str, tmp_path: Path
) -> None:
    """Every event whose `record` had returned before kill -9 is in the ledger once, after the sweep."""
    told: set[int] = set()
    for number in range(3):
        where = (target, tmp_path / "outbox", f"replica-{number}")
        told |= await asyncio.to_thread(killed_recorder, *where, number * 10**9, 3000)
    assert ledger.audit().events > 0  # some of them had been sent when the process was killed
    await sweep(tmp_path / "outbox", target)
    found = stored(settings.ledger)
    assert len(told) >= 9000
    assert told <= set(found)
    assert len(found) == len(set(found)) <= len(told) + 3  # written, and killed before it could tell
    assert ledger.audit().sound
