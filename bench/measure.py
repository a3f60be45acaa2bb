"""How each figure is taken: floor, ours, floor, ours, floor, ...; every run checked."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import h2load
from bench.calls import check_linear, check_minilm
from bench.counts import counted
from bench.figures import Figure, interleaved_ratio, spread
from bench.frames import framed, linear_request, minilm_request, texts
from bench.mesh import Mesh
from bench.programs import addressed, floor, printed
from bench.target import Sample, Target

CONNECTIONS, STREAMS = 8, 16  # 128 in flight
TOKENS = 32
WARM_REQUESTS = 3_000


@dataclass(frozen=True, slots=True)
class Effort:
    """How long and how often. `rounds` of ours, one more of the floor."""

    rounds: int = 3
    run_s: float = 5.0


def linear(mesh: Mesh, echo: Target, effort: Effort, which: str = "") -> Figure:
    """`linear` at 128 in flight over the echo floor, by h2load; `which` says which mesh, if it is not the whole one."""
    name = f"`linear`, 128 in flight{which} / echo"
    if not h2load.available():
        return Figure(name, must=1.5, aim=2.5, missing=h2load.HOW_TO_GET)
    check_linear(mesh)
    ours, floors = interleaved(
        effort, lambda: flood(mesh.target, "linear", effort), lambda: flood(echo, "", effort)
    )
    return Figure(
        name,
        f"{spread(ours)}/s",
        f"{spread(floors)}/s",
        interleaved_ratio(ours, floors),
        must=1.5,
        aim=2.5,
    )


def ceiling(mesh: Mesh, c_server: Target, effort: Effort) -> Figure:
    """`linear` over a C server that answers nothing: how near the gateway's own limit we are."""
    name = "`linear`, 128 in flight / C server"
    if not h2load.available():
        return Figure(name, missing=h2load.HOW_TO_GET)
    once = Effort(1, effort.run_s)
    ours, floors = interleaved(
        once, lambda: flood(mesh.target, "linear", once), lambda: flood(c_server, "", once)
    )
    return Figure(name, f"{spread(ours)}/s", f"{spread(floors)}/s", interleaved_ratio(ours, floors))


def hits(mesh: Mesh, c_server: Target, effort: Effort) -> Figure:
    """`linear-cached` answered from the near-cache at 128 in flight, over a C server that answers nothing."""
    name = "cache hits (`linear-cached`), 128 in flight / C server"
    if not h2load.available():
        return Figure(name, must=0.3, aim=0.4, missing=h2load.HOW_TO_GET)
    check_linear(mesh, "linear-cached")  # the one execution
    ours, floors = interleaved(
        effort,
        lambda: flood(mesh.target, "linear-cached", effort, cached=True),
        lambda: flood(c_server, "", effort),
    )
    return Figure(
        name, f"{spread(ours)}/s", f"{spread(floors)}/s", interleaved_ratio(ours, floors), must=0.3, aim=0.4
    )


def everything(on: Mesh, off: Mesh, effort: Effort) -> Figure:
    """`linear` at 128 in flight with limits, cache, metering and traces, over the same without them."""
    name = "`linear`, 128 in flight, everything on / everything off"
    if not h2load.available():
        return Figure(name, must=0.9, aim=0.97, missing=h2load.HOW_TO_GET)
    ours, floors = interleaved(
        effort, lambda: flood(on.target, "linear", effort), lambda: flood(off.target, "linear", effort)
    )
    return Figure(
        name, f"{spread(ours)}/s", f"{spread(floors)}/s", interleaved_ratio(ours, floors), must=0.9, aim=0.97
    )


def latency(mesh: Mesh, effort: Effort) -> Figure:
    """What the mesh adds to one bare call of `linear`, one request at a time; medians."""
    name = "`linear`, one at a time, added to the bare call, p50"
    if not h2load.available():
        return Figure(name, unit="ms", must=1.0, aim=0.4, lower_is_better=True, missing=h2load.HOW_TO_GET)
    model = str(mesh.model_file("linear", "model.onnx"))
    ours, floors = interleaved(
        effort, lambda: _one_at_a_time(mesh.target), lambda: floor("bare_call", model, "x", "16")["p50_us"]
    )
    return Figure(
        name,
        f"{spread(ours)} us",
        f"{median(floors):.1f} us",
        (median(ours) - median(floors)) / 1e3,
        unit="ms",
        must=1.0,
        aim=0.4,
        lower_is_better=True,
    )


def minilm(mesh: Mesh, effort: Effort, folder: Path, which: str = "") -> Figure:
    """`minilm` at 128 in flight, each text sent once, over bare ONNX Runtime at its best; `which` as in `linear`."""
    model = str(mesh.model_file("minilm-encoder", "model.onnx"))
    source = texts(mesh.model_file("minilm-tokenizer", "tokenizer.json"), itertools.repeat(TOKENS), seed=0)
    check_minilm(mesh, next(source))
    best = max(floor("bare_onnx", model), key=lambda run: run["rows_per_s"])
    arguments = ("--layout", best["layout"], "--batch", str(best["batch"]), "--seconds", str(effort.run_s))
    requests = int(best["rows_per_s"] * effort.run_s)
    ours, floors = interleaved(
        effort,
        lambda: distinct(mesh.target, itertools.islice(source, requests), folder).per_s,
        lambda: floor("bare_onnx", model, *arguments)[0]["rows_per_s"],
    )
    return Figure(
        f"`minilm`, 128 in flight{which} / bare ONNX Runtime",
        f"{spread(ours)}/s",
        f"{spread(floors)}/s at {best['layout']}, batch {best['batch']}",
        interleaved_ratio(ours, floors),
        must=0.85 if which else 0.92,
        aim=0.96,
    )


def interleaved(
    effort: Effort, ours: Callable[[], float], theirs: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Runs of ours, each between two of the floor's: ours, and theirs (one more)."""
    mine, floors = [], [theirs()]
    for _ in range(effort.rounds):
        mine.append(ours())
        floors.append(theirs())
    return mine, floors


def flood(target: Target, model: str, effort: Effort, *, cached: bool = False) -> float:
    """128 in flight for about `run_s`: a short run first, which warms and says how many that are."""
    warm = _h2load(target, model, WARM_REQUESTS, CONNECTIONS, STREAMS, cached=cached)
    requests = int(warm.per_s * effort.run_s)
    return _h2load(target, model, requests, CONNECTIONS, STREAMS, cached=cached).per_s


def _one_at_a_time(target: Target) -> float:
    _h2load(target, "linear", 500, 1, 1)
    return _h2load(target, "linear", 3_000, 1, 1).p50_us


def _h2load(
    target: Target, model: str, requests: int, connections: int, streams: int, *, cached: bool = False
) -> Sample:
    frame = framed(linear_request(model=model or "linear").SerializeToString())
    with counted(target, requests, model, cached=cached):
        return h2load.run(target, frame, requests=requests, connections=connections, streams=streams)


def distinct(target: Target, source: Iterable[str], folder: Path) -> Sample:
    """Each text once through `minilm`, 128 in flight."""
    frames = folder / "frames"
    requests = [framed(minilm_request(text).SerializeToString()) for text in source]
    frames.write_bytes(b"".join(requests))
    with counted(target, len(requests), "minilm"):
        return Sample(**printed("bench.streams", str(frames), *addressed(target, folder)))
