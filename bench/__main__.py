"""`python -m bench`: starts a mesh of its own, measures, prints the table, ends it.

    python -m bench [--only linear,minilm,latency,start] [--rounds 3] [--seconds 5]

Exit status 1 when a figure is below its must, or a run was void.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict
from pathlib import Path

from bench import edge, lease, lengths, measure, stress
from bench.calls import CallFailed
from bench.counts import RunVoid
from bench.edge import FloorFailed
from bench.figures import Figure, table
from bench.h2load import LoadFailed
from bench.ingest import ingest
from bench.machine import described
from bench.measure import Effort
from bench.mesh import ALONE, MIB, OFF, Mesh, MeshFailed, running
from bench.peers import serving
from bench.peers.serving import PeerFailed
from bench.scale import scale

RESULTS = Path(__file__).with_name("results")
ALONE_TOO = ", gateway and inference alone"


def _alone(folder: Path, effort: Effort) -> list[Figure]:
    with running(folder / "a", ALONE) as mesh:
        with edge.echo(mesh, folder / "e") as echo:
            linear = measure.linear(mesh, echo, effort, ALONE_TOO)
        return [linear, measure.minilm(mesh, effort, folder, ALONE_TOO)]


def _linear(mesh: Mesh, folder: Path, effort: Effort) -> list[Figure]:
    with edge.echo(mesh, folder / "echo") as echo:
        figures = [measure.linear(mesh, echo, effort)]
    with edge.c_server(mesh, folder / "c") as c_server:
        return [*figures, measure.ceiling(mesh, c_server, effort)]


def _hits(mesh: Mesh, folder: Path, effort: Effort) -> list[Figure]:
    with edge.c_server(mesh, folder / "h") as c_server:
        return [measure.hits(mesh, c_server, effort)]


def _everything(mesh: Mesh, folder: Path, effort: Effort) -> list[Figure]:
    with running(folder / "o", OFF) as off:
        return [measure.everything(mesh, off, effort)]


WITHOUT_IT: Mapping[str, Callable[[Path, Effort], list[Figure]]] = {
    "ingest": lambda folder, effort: [ingest(folder / "i", effort)],
    "lease": lambda folder, effort: [lease.check(folder / "l", effort)],
    "alone": _alone,
}
"""Rows that the mesh is not measured by: it does not run beside them."""

OF_THE_MESH: Mapping[str, Callable[[Mesh, Path, Effort], list[Figure]]] = {
    "linear": _linear,
    "hits": _hits,
    "everything": _everything,
    "peers": serving.compared,
    "latency": lambda mesh, _folder, effort: [measure.latency(mesh, effort)],
    "minilm": lambda mesh, folder, effort: [measure.minilm(mesh, effort, folder)],
    "lengths": lambda mesh, folder, effort: [lengths.mixed(mesh, effort, folder)],
    "scale": lambda mesh, _folder, _effort: scale(mesh),
    "users": lambda mesh, folder, _effort: stress.users(mesh, folder),
    "overload": lambda mesh, folder, _effort: stress.overload(mesh, folder),
}

START = "start"
ROWS = (*WITHOUT_IT, START, *OF_THE_MESH)


def main(arguments: Sequence[str]) -> int:
    """Measures what the arguments ask for; see the module."""
    options = _parsed(arguments)
    # Its default would end us at once, and leave the mesh and the floors running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine = described()
    # In /tmp because paths of Unix sockets are short.
    with tempfile.TemporaryDirectory(prefix="hb-", dir="/tmp") as folder:
        try:
            figures = _figures(
                Path(folder), set(options.only.split(",")), Effort(options.rounds, options.seconds)
            )
        except (CallFailed, FloorFailed, LoadFailed, MeshFailed, PeerFailed, RunVoid) as void:
            print(f"bench: void: {void}", file=sys.stderr)
            return 1
    print(", ".join(f"{key} {value}" for key, value in machine.items()) + "\n")
    print(table(figures))
    print(f"\nwritten to {_write(machine, figures)}")
    return 1 if any(figure.verdict == "FAIL" for figure in figures) else 0


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--only", default=",".join(ROWS), help="some of " + ",".join(ROWS))
    parser.add_argument("--rounds", type=int, default=3, help="runs of ours for each figure (default 3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a run (default 5)")
    options = parser.parse_args(arguments)
    unknown = set(options.only.split(",")) - set(ROWS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    return options


def _figures(folder: Path, rows: Set[str], effort: Effort) -> list[Figure]:
    figures = []
    for row in _wanted(WITHOUT_IT, rows):
        figures += WITHOUT_IT[row](folder, effort)
    if rows <= WITHOUT_IT.keys():
        return figures
    _say("starting a mesh")
    with running(folder / "s") as mesh:
        if START in rows:
            figures += [_start(mesh, "first"), _memory(mesh)]
        for row in _wanted(OF_THE_MESH, rows):
            figures += OF_THE_MESH[row](mesh, folder, effort)
    if START in rows:
        _say("starting it again")
        with running(folder / "s") as mesh:
            figures.append(_start(mesh, "second"))
    return figures


def _wanted(known: Iterable[str], rows: Set[str]) -> Iterator[str]:
    for row in known:
        if row in rows:
            _say(row)
            yield row


def _start(mesh: Mesh, which: str) -> Figure:
    must, aim = (60.0, 5.0) if which == "first" else (10.0, None)
    return Figure(
        f"start of the mesh, {which} time",
        value=mesh.start_s,
        unit="s",
        must=must,
        aim=aim,
        lower_is_better=True,
    )


def _memory(mesh: Mesh) -> Figure:
    each = {name: size // MIB for name, size in mesh.memory().items()}
    parts = ", ".join(f"{name} {size}" for name, size in each.items())
    return Figure(
        "memory of the idle mesh (PSS)",
        parts,
        value=float(sum(each.values())),
        unit="MiB",
        must=1500.0,
        aim=600.0,
        lower_is_better=True,
    )


def _write(machine: Mapping[str, str | int], figures: Sequence[Figure]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{machine['taken']}.json".replace(":", "")
    rows = [{**asdict(figure), "verdict": figure.verdict} for figure in figures]
    path.write_text(json.dumps({"machine": machine, "figures": rows}, indent=1) + "\n")
    return path


def _say(what: str) -> None:
    print(f"bench: {what} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
