"""A process that records usage until somebody kills it, and what the ledger has of it.

Each event's CPU time is its own: it stands for the event's identity.
"""

import asyncio
import os
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

from headrace.metering.client import metering_usage
from headrace.metering.v1.usage_pb2 import UsageBatch
from headrace.runtime.telemetry import quiet
from tests.fakes.metering import event

ROOT = Path(__file__).resolve().parents[2]
IDENTITY = struct.Struct("<q")


def killed_recorder(target: str, outbox: Path, source: str, identity: int, count: int) -> set[int]:
    """Starts a recorder, kills it by SIGKILL after `count` events, and says whose `record` had returned."""
    command = [sys.executable, "-m", "tests.support.recorder", target, str(outbox), source, str(identity)]
    environment = {"PYTHONPATH": f"{ROOT / 'services'}:{ROOT}", "PATH": os.defpath}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=ROOT) as process:
        assert process.stdout is not None
        told = process.stdout.read(count * IDENTITY.size)
        process.kill()
        told += process.stdout.read()
    whole = len(told) - len(told) % IDENTITY.size
    return {identity for (identity,) in IDENTITY.iter_unpack(told[:whole])}


def stored(ledger: Path) -> list[int]:
    """The identity of every event that the ledger's segments hold."""
    db = sqlite3.connect(ledger)
    segments = db.execute("SELECT batch, skipped FROM segments").fetchall()
    db.close()
    return [one for batch, skipped in segments for one in UsageBatch.FromString(batch).cpu_ns[skipped:]]


async def record_for_ever(target: str, outbox: str, source: str, identity: int) -> None:
    """Records and tells, one event after another; lets the loop send now and then."""
    async with metering_usage(target, Path(outbox), source, quiet()[0]) as usage:
        while True:
            for _ in range(50):
                if usage.reserve():
                    usage.record(event(cpu_ns=identity))
                    os.write(1, IDENTITY.pack(identity))
                    identity += 1
            await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(record_for_ever(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
