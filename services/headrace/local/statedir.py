"""The directory in which one mesh keeps everything: layout, lock, who runs it."""

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headrace.local.child import identity_of
from headrace.local.errors import StartFault

# sun_path of a Unix socket holds 108 bytes, the last of them a zero.
MAX_SOCKET_PATH_BYTES = 107
LONGEST_SOCKET = "inference-999.grpc.sock"


class SupervisorRecord(msgspec.Struct, frozen=True):
    """Who supervises, and where its gateway listens and its page is; both empty until it is ready."""

    pid: int
    identity: str
    gateway: str = ""
    web: str = ""

    def alive(self) -> bool:
        """Whether exactly this process still runs: its pid may be another's by now."""
        return identity_of(self.pid) == self.identity


@dataclass(frozen=True, slots=True)
class StateDir:
    """Paths below `root`, which is absolute. Naming them touches nothing."""

    root: Path

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def envoy(self) -> Path:
        return self.root / "envoy"

    @property
    def guard(self) -> Path:
        return self.root / "guard"

    @property
    def metering(self) -> Path:
        return self.root / "metering"

    @property
    def scaling(self) -> Path:
        return self.root / "scaling"

    @property
    def outbox(self) -> Path:
        return self.root / "outbox"

    @property
    def valkey(self) -> Path:
        return self.root / "valkey"

    @property
    def control(self) -> Path:
        """What the replicas were asked to do; goes with the mesh."""
        return self.run / "control"

    @property
    def ledger(self) -> Path:
        return self.metering / "ledger.sqlite3"

    @property
    def edge_log(self) -> Path:
        return self.metering / "edge.sqlite3"

    @property
    def traces(self) -> Path:
        return self.root / "traces.sqlite3"

    @property
    def jwks(self) -> Path:
        return self.keys / "jwks.json"

    @property
    def cache_key(self) -> Path:
        return self.keys / "cache.key"

    @property
    def valkey_password(self) -> Path:
        return self.keys / "valkey.password"

    @property
    def operator_token(self) -> Path:
        return self.root / "operator.token"

    @property
    def demo_token(self) -> Path:
        return self.root / "demo.token"

    @property
    def record(self) -> Path:
        return self.root / "supervisor.json"

    @property
    def last_trace(self) -> Path:
        return self.root / "last-trace.json"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def jwks_socket(self) -> Path:
        return self.run / "jwks.sock"

    @property
    def insight_socket(self) -> Path:
        return self.socket("insight")

    @property
    def targets(self) -> Path:
        return self.run / "targets.json"

    @property
    def envoy_admin(self) -> Path:
        return self.run / "envoy-admin.sock"

    def socket(self, service: str) -> Path:
        """Where a service that has one process trusts its peers."""
        return self.run / f"{service}.grpc.sock"

    def log(self, process: str) -> Path:
        """Where `process` writes its standard error."""
        return self.logs / f"{process}.log"

    def supervisor(self) -> SupervisorRecord | None:
        """Who supervises this directory now; None when nobody alive does."""
        try:
            record = msgspec.json.decode(self.record.read_bytes(), type=SupervisorRecord)
        except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
            return None
        return record if record.alive() else None


def prepare(state: StateDir) -> None:
    """Makes the directories, private to this user; raises StartFault."""
    longest = len(os.fsencode(state.run / LONGEST_SOCKET))
    if longest > MAX_SOCKET_PATH_BYTES:
        raise StartFault(
            f"the state directory's path is too long ({state.root})",
            f"Unix socket paths hold {MAX_SOCKET_PATH_BYTES} bytes and ours would have {longest}",
            "use a shorter one: --state-dir /tmp/headrace",
        )
    for directory in (
        state.root,
        state.run,
        state.logs,
        state.keys,
        state.models,
        state.envoy,
        state.guard,
        state.metering,
        state.scaling,
        state.outbox,
        state.valkey,
    ):
        _private(directory)


def _private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
        if found.st_uid != os.getuid():
            raise StartFault(
                f"{directory} belongs to another user (uid {found.st_uid})",
                "its sockets and keys are trusted because only you can reach them",
                "use another one: --state-dir DIR",
            )
        if stat.S_IMODE(found.st_mode) != 0o700:
            directory.chmod(0o700)
    except OSError as error:
        raise StartFault(
            f"can't use the state directory {directory}",
            error.strerror or str(error),
            "use another one: --state-dir DIR",
        ) from error


@contextmanager
def locked(state: StateDir) -> Iterator[None]:
    """Holds the directory for one supervisor; raises BlockingIOError otherwise.

    The lock goes with the process, however it ends, and is not inherited.
    """
    descriptor = os.open(state.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def clear_run(state: StateDir) -> None:
    """Removes what a dead supervisor left; only the lock's holder may."""
    state.record.unlink(missing_ok=True)
    for entry in state.run.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces `path` in one step: a reader sees the old content or the new. Only this user may read it."""
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    beside.replace(path)


def write_record(state: StateDir, gateway: str, web: str = "") -> None:
    """Says who supervises and, once the gateway is ready, where it listens and where the page is."""
    pid = os.getpid()
    record = SupervisorRecord(pid, identity_of(pid), gateway, web)
    write_atomically(state.record, msgspec.json.encode(record))
