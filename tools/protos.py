"""Generates the Python code of `protos/`, or checks that the committed code is current.

    python -m tools.protos generate    # writes services/headrace/**/*_pb2*
    python -m tools.protos check       # exit 1 and a list of files where it differs
    python -m tools.protos googleapis  # lays google.api's protos where buf and protoc look

The code of one run depends on the versions of grpcio-tools and mypy-protobuf: `make` runs this in the
virtual environment that constraints.txt pins.
"""

import argparse
import filecmp
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
SERVICES = ROOT / "services"
GOOGLEAPIS = ROOT / ".googleapis"
# google/protobuf/*.proto, which grpcio-tools carries.
WELL_KNOWN = files("grpc_tools") / "_proto"
# What our protos import of googleapis: the REST bridge's annotations (which import http) and bodies, and
# the status in which a gateway says why it refused its endpoints.
IMPORTED = {
    "google.api": ("annotations.proto", "http.proto", "httpbody.proto"),
    "google.rpc": ("status.proto",),
}

_SERVICE = re.compile(r"^service \w+ ", re.MULTILINE)


def lay_googleapis(target: Path = GOOGLEAPIS) -> None:
    """Copies the protos that ours import from the googleapis-common-protos wheel into `target`."""
    for package, names in IMPORTED.items():
        folder = target.joinpath(*package.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).write_bytes(files(package).joinpath(name).read_bytes())


def generate(target: Path) -> list[Path]:
    """Generates code for every proto under the empty folder `target`; returns the files, relative to it."""
    lay_googleapis()
    protos = sorted(PROTOS.rglob("*.proto"))
    # A file without a service gets no *_pb2_grpc: it would be an empty module.
    serving = [path for path in protos if _SERVICE.search(path.read_text())]
    _protoc(protos, target, ("python", "mypy"))
    _protoc(serving, target, ("grpc_python", "mypy_grpc"))
    return generated(target)


def generated(root: Path) -> list[Path]:
    """Every generated file under `root`, relative to it."""
    return sorted(
        path.relative_to(root)
        for path in root.rglob("*_pb2*")
        if path.suffix in {".py", ".pyi"} and "__pycache__" not in path.parts
    )


def differences() -> list[str]:
    """Which committed files differ from what the protos give today; empty when all are current."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        wanted, present = generate(fresh), generated(SERVICES)
        stale = [
            path
            for path in wanted
            if path in present and not filecmp.cmp(fresh / path, SERVICES / path, shallow=False)
        ]
    missing, left = set(wanted) - set(present), set(present) - set(wanted)
    return sorted(
        [f"services/{path}: missing" for path in missing]
        + [f"services/{path}: no proto makes it any more" for path in left]
        + [f"services/{path}: differs from its proto" for path in stale]
    )


def _protoc(protos: Iterable[Path], target: Path, plugins: Iterable[str]) -> None:
    outputs = [f"--{plugin}_out={'quiet:' if 'mypy' in plugin else ''}{target}" for plugin in plugins]
    names = [str(path.relative_to(PROTOS)) for path in protos]
    # protoc starts the plugins of mypy-protobuf by name: `make` puts the venv's bin on PATH.
    if status := protoc.main(
        ["protoc", f"-I{PROTOS}", f"-I{GOOGLEAPIS}", f"-I{WELL_KNOWN}", *outputs, *names]
    ):
        sys.exit(status)


def _regenerate() -> int:
    with tempfile.TemporaryDirectory() as folder:
        wanted = generate(Path(folder))
        for path in wanted:
            (SERVICES / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(folder) / path, SERVICES / path)
    for path in set(generated(SERVICES)) - set(wanted):
        (SERVICES / path).unlink()
    return 0


def _check() -> int:
    found = differences()
    for line in found:
        print(line, file=sys.stderr)
    if found:
        print("Generated code is not current: run `make proto` and commit what it changes.", file=sys.stderr)
    return 1 if found else 0


def _lay() -> int:
    shutil.rmtree(GOOGLEAPIS, ignore_errors=True)
    lay_googleapis()
    return 0


def main() -> int:
    """Runs the command named on the command line; returns the exit status."""
    commands = {"generate": _regenerate, "check": _check, "googleapis": _lay}
    parser = argparse.ArgumentParser(prog="python -m tools.protos", description=__doc__)
    parser.add_argument("command", choices=commands)
    return commands[parser.parse_args().command]()


if __name__ == "__main__":
    sys.exit(main())
