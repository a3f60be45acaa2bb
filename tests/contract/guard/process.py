"""A guard as a process of its own, which can be killed and stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support.waiting import eventually


class GuardProcess:
    """`python -m headrace.guard` in a folder; started again it finds what it kept."""

    def __init__(self, folder: Path, limits: dict[str, object], ttl_s: float = 0.4) -> None:
        self.socket = folder / "g.sock"
        self._environment = {
            **os.environ,
            "HEADRACE_GUARD_LISTEN": "127.0.0.1:0",
            "HEADRACE_GUARD_METRICS_LISTEN": "",
            "HEADRACE_GUARD_SOCKET": str(self.socket),
            "HEADRACE_GUARD_JWKS": str(folder / "jwks.json"),
            "HEADRACE_GUARD_STORE": str(folder / "store"),
            "HEADRACE_GUARD_LIMITS": json.dumps(limits),
            "HEADRACE_GUARD_LEASE_TTL_S": str(ttl_s),
            "HEADRACE_TELEMETRY_SAMPLE_RATIO": "0",
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        """Where holders find it."""
        return f"unix:{self.socket}"

    def start(self) -> None:
        """Starts it; returns when it has its socket."""
        self.socket.unlink(missing_ok=True)
        self._process = subprocess.Popen([sys.executable, "-m", "headrace.guard"], env=self._environment)
        eventually(lambda: self.socket.exists() or None, "the guard listens")

    def kill(self) -> None:
        """As kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stalls it: its connections stay open, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Ends `stop`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> float:
        """Ends it in order; returns how many seconds that took."""
        assert self._process is not None
        started = time.monotonic()
        self._process.terminate()
        assert self._process.wait(20) == 0
        return time.monotonic() - started

    def close(self) -> None:
        """Ends it if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
