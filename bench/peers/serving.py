"""Peers as they are served: installed once into `.cache`, started on free ports, asked directly, without a gateway."""

import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import h2load
from bench.calls import CallFailed, answered
from bench.figures import Figure, interleaved_ratio, spread
from bench.frames import framed, linear_request
from bench.measure import CONNECTIONS, STREAMS, WARM_REQUESTS, Effort, flood, interleaved
from bench.mesh import Mesh
from bench.target import Sample, Target
from headrace.local.ports import FreePorts
from tests.support.venvs import venv

START_S = 60.0
PREFIX_BYTES = 5


class PeerFailed(Exception):
    """A peer doesn't answer; its log says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server to compare with: what is installed for it, and the script beside this file."""

    name: str
    requirements: tuple[str, ...]
    script: str


# torch, where one of them wants it, is the small CPU build (constraints.txt says why).
PEERS = (
    Peer("KServe SDK 0.21", ("kserve==0.21.0", "onnxruntime", "torch==2.13.0"), "kserve_server.py"),
    Peer("MLServer 1.7.1", ("mlserver==1.7.1", "onnxruntime"), "mlserver_server.py"),
)


def compared(mesh: Mesh, folder: Path, effort: Effort) -> list[Figure]:
    """`linear` at 128 in flight through our gateway, over each peer asked directly."""
    return [_compared(mesh, peer, folder, effort) for peer in PEERS]


def _compared(mesh: Mesh, peer: Peer, folder: Path, effort: Effort) -> Figure:
    name = f"`linear`, 128 in flight / {peer.name} served directly"
    if not h2load.available():
        return Figure(name, must=2.0, aim=4.0, missing=h2load.HOW_TO_GET)
    with served(peer, mesh.model_file("linear", "model.onnx"), folder) as target:
        size = PREFIX_BYTES + len(answered(target, linear_request()))
        ours, theirs = interleaved(
            effort, lambda: flood(mesh.target, "linear", effort), lambda: _flood(target, size, effort)
        )
    return Figure(
        name, f"{spread(ours)}/s", f"{spread(theirs)}/s", interleaved_ratio(ours, theirs), must=2.0, aim=4.0
    )


@contextmanager
def served(peer: Peer, model: Path, folder: Path) -> Iterator[Target]:
    """A running peer, ended on leaving."""
    python = venv(*peer.requirements)
    free = FreePorts(random.Random())
    http_port, grpc_port = free.take(), free.take()
    script = Path(__file__).with_name(peer.script)
    log = folder / f"{script.stem}.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [python, script, model, str(http_port), str(grpc_port)], stdout=out, stderr=out
        ) as process,
    ):
        try:
            target = Target(peer.name, grpc_port, Path(), "", "none")
            _until_answered(target, process, log)
            yield target
        finally:
            process.terminate()
            process.wait(20)


def _until_answered(target: Target, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < until:
        try:
            answered(target, linear_request())
        except CallFailed:
            time.sleep(0.2)
        else:
            return
    raise PeerFailed(f"{target.name}: {log.read_text()[-2000:]}")


def _flood(target: Target, answer_bytes: int, effort: Effort) -> float:
    """As ours: a short run first, which warms and says how many requests the second one is to have."""
    warm = _sent(target, answer_bytes, WARM_REQUESTS)
    return _sent(target, answer_bytes, int(warm.per_s * effort.run_s)).per_s


def _sent(target: Target, answer_bytes: int, requests: int) -> Sample:
    return h2load.run(
        target,
        framed(linear_request().SerializeToString()),
        requests=requests,
        connections=CONNECTIONS,
        streams=STREAMS,
        answer_bytes=answer_bytes,
    )
