"""The cache as a process of its own, killed and stopped under a replica's look-ups."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.cache.client import AnswerKeys, CachedAnswers, Found
from headrace.cache.settings import Settings
from tests.contract.cache.conftest import client_of, until

KEYS = AnswerKeys(bytes(range(32)))
ROOT = Path(__file__).resolve().parents[3]


class Process:
    """`python -m headrace.cache` with memory alone, on the sockets of `settings`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        values = {
            "LISTEN": "127.0.0.1:0",
            "METRICS_LISTEN": "",
            "SOCKET": str(self._settings.socket),
            "JWKS": str(self._settings.jwks),
            "KEY_FILE": str(self._settings.key_file),
            "REDIS": "",
            "HEARTBEAT_S": "0.1",
        }
        environment = {f"HEADRACE_CACHE_{key}": value for key, value in values.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headrace.cache"],
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT / "services")},
        )

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)  # nothing where it has ended
        if number is signal.SIGKILL:
            self.process.wait()


@pytest.fixture
def process(memory_only: Settings) -> Iterator[Process]:
    """A running one."""
    running = Process(memory_only)
    running.start()
    yield running
    running.send(signal.SIGKILL)


async def compute() -> tuple[bytes, object]:
    return b"answer", "made"


async def find(answers: CachedAnswers, number: int) -> Found:
    data = number.to_bytes(8, "little")
    key = KEYS.key(KEYS.prefix("acme", "linear", "d"), [("x", "INT64", (1,), data)], {}, ())
    found = answers.near(key)
    if found is not None:
        return Found(found, "near")
    return await answers.find(key, "acme", "linear", compute)


async def near(answers: CachedAnswers) -> None:
    """Waits until the near-cache is on."""
    for _ in range(1000):
        if (await find(answers, 0)).level == "near":
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the near-cache was never on")


async def test_a_killed_cache_costs_no_error(process: Process, memory_only: Settings) -> None:
    """kill -9 under look-ups: each is answered, at once the near-cache is off, and all is used again when it is back."""
    async with client_of(memory_only, budget_s=0.005) as answers:
        await near(answers)
        process.send(signal.SIGKILL)
        results = [await find(answers, number) for number in range(1, 300)]
        assert {result.value for result in results} == {b"answer"}
        for _ in range(100):
            if (await find(answers, 0)).level == "miss":
                break
            await asyncio.sleep(0.01)
        assert (await find(answers, 0)).level == "miss"
        process.start()
        await near(answers)


async def test_a_stopped_cache_costs_the_budget_five_times(process: Process, memory_only: Settings) -> None:
    """SIGSTOP: its sockets take everything and answer nothing. The breaker opens; three heartbeats later
    the near-cache is off, since what the service forgets meanwhile is not heard."""
    async with client_of(memory_only, budget_s=0.005) as answers:
        await near(answers)
        process.send(signal.SIGSTOP)
        took = []
        for number in range(1, 300):
            began = time.perf_counter()
            assert (await find(answers, number)).value == b"answer"
            took.append(time.perf_counter() - began)
        waited = [seconds for seconds in took if seconds > 0.004]
        assert len(waited) <= 10, waited
        end = time.monotonic() + 10
        while (await find(answers, 0)).level != "miss":
            assert time.monotonic() < end, "the near-cache still answers"
            await asyncio.sleep(0.05)
        process.send(signal.SIGCONT)
        await near(answers)


async def test_it_ends_when_asked(process: Process, memory_only: Settings) -> None:
    """SIGTERM with a client that watches: exit 0, soon."""
    async with client_of(memory_only) as answers:
        await near(answers)
        process.send(signal.SIGTERM)
        assert process.process is not None
        running = process.process
        await until(lambda: running.poll() is not None, "it ends", within_s=5)
        assert running.returncode == 0


def test_a_start_that_can_not_be_says_why(tmp_path: Path) -> None:
    """One line that names the setting and the file, exit 2."""
    ended = subprocess.run(
        [sys.executable, "-m", "headrace.cache"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "services"),
            "HEADRACE_CACHE_KEY_FILE": str(tmp_path / "none"),
            "HEADRACE_CACHE_LISTEN": "127.0.0.1:0",
        },
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.decode().strip() == (
        f"HEADRACE_CACHE_KEY_FILE: can't read {tmp_path / 'none'}: No such file or directory"
    )
