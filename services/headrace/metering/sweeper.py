"""Drains the outboxes of processes that are gone.

A directory whose lock can be had has no owner any more. Its rows are sent from
the first file on; metering skips what it has. Only when it has confirmed all of
them does the directory go.
"""

import asyncio
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import structlog

from headrace.metering.core.batch import Name
from headrace.metering.core.rows import FORMAT, Rows, valid
from headrace.metering.sender import Credentials, RecordStream, StreamLost
from headrace.runtime.channels import open_channel

BATCH_EVENTS = 4096

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive events; between two runs lies what a power failure took."""

    first: int
    rows: Rows


async def sweep(
    outbox_root: Path, target: str, *, credentials: Credentials = (), deadline_s: float = 60.0
) -> int:
    """Sends what ownerless outboxes hold; returns how many events metering took, some of them again.

    What can't be sent before the deadline, because metering is not there for
    instance, stays for the next time. Never raises for that.
    """
    orphans = await asyncio.to_thread(_orphans, outbox_root)
    sent = 0
    if not orphans:
        return sent
    async with open_channel(target) as channel:
        try:
            async with asyncio.timeout(deadline_s):
                for path in orphans:
                    sent += await _guarded(path, channel, credentials)
        except (TimeoutError, StreamLost, grpc.aio.AioRpcError) as error:
            log.warning("an outbox waits for metering", why=type(error).__name__, outboxes=len(orphans))
    return sent


def orphaned(outbox_root: Path) -> int:
    """How many outboxes have no owner any more."""
    return len(_orphans(outbox_root))


async def _guarded(path: Path, channel: grpc.aio.Channel, credentials: Credentials) -> int:
    """An outbox that can't be read stays for somebody to look at; the others go on."""
    try:
        return await _swept(path, channel, credentials)
    except (OSError, ValueError) as error:
        log.error("an outbox can't be read", outbox=str(path), why=str(error))
        return 0


async def _swept(path: Path, channel: grpc.aio.Channel, credentials: Credentials) -> int:
    lock = _locked(path)
    if lock is None:
        return 0
    source, _, incarnation = path.name.rpartition("-")
    stream = RecordStream(channel, credentials)
    sent = 0
    try:
        await stream.opened()
        names = await asyncio.to_thread(_names, path)
        for file in await asyncio.to_thread(_files, path):
            for run in await asyncio.to_thread(_runs, file, len(names)):
                await _record(stream, source, incarnation, run, names)
                sent += len(run.rows)
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        log.info("an outbox without owner is drained", source=source, incarnation=incarnation, events=sent)
    finally:
        stream.close()
        os.close(lock)
    return sent


async def _record(stream: RecordStream, source: str, incarnation: str, run: Run, names: list[Name]) -> None:
    """Sends the run; returns when metering has all of it."""
    last = run.first + len(run.rows) - 1
    first = run.first
    while first <= last:
        rows = run.rows[first - run.first :][:BATCH_EVENTS]
        answer = await stream.record(source, incarnation, first, run.first, rows, names)
        if answer.acknowledged_sequence < first:
            raise StreamLost(f"metering stored nothing of the batch at {first}")
        first = answer.acknowledged_sequence + 1


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.rows"))


def _runs(file: Path, names: int) -> list[Run]:
    return list(_runs_of(file.read_bytes(), int(file.stem), names))


def _runs_of(data: bytes, first: int, names: int) -> Iterator[Run]:
    """The valid rows of a file, in runs without a gap."""
    rows = np.frombuffer(data, FORMAT)
    written = np.flatnonzero(np.array(valid(data), dtype=bool) & (rows["name"] <= names))
    for run in np.split(written, np.flatnonzero(np.diff(written) > 1) + 1):
        if len(run):
            yield Run(first + int(run[0]), rows[run[0] : run[-1] + 1])


def _names(path: Path) -> list[Name]:
    data = (path / "names").read_bytes().rstrip(b"\0")
    return [tuple(json.loads(line)) for line in data.splitlines()]


def _directories(root: Path) -> list[Path]:
    """The outboxes; one that begins with a dot is being made."""
    with suppress(FileNotFoundError):
        return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    return []


def _orphans(root: Path) -> list[Path]:
    return [path for path in _directories(root) if not _owned(path)]


def _owned(path: Path) -> bool:
    lock = _locked(path)
    if lock is None:
        return True
    os.close(lock)
    return False


def _locked(path: Path) -> int | None:
    """The lock's descriptor; None when somebody else has it, or the outbox is gone."""
    try:
        lock = os.open(path / "lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
