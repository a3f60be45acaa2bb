"""Figures under many users and under more than can be served."""

import itertools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from grpc import StatusCode

from bench.calls import check_linear, check_minilm
from bench.counts import RunVoid, await_statuses, ended, statuses
from bench.figures import Figure
from bench.frames import framed, linear_request, minilm_request, texts
from bench.measure import TOKENS, distinct
from bench.mesh import MIB, Mesh
from bench.probes import Probes, refusals
from bench.programs import addressed, printed

USERS, THINK_S, RAMP_S, SECONDS = 5000, 2.5, 10.0, 20.0

OVERLOAD, FLOOD_S, DEADLINE_MS = 3, 20.0, 1000
PEAK_REQUESTS = 1500
CODES = {str(code.value[0]): code.name for code in StatusCode}
SERVED_OR_REFUSED = {"OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"}


def users(mesh: Mesh, folder: Path) -> list[Figure]:
    """5,000 users with think time: errors, rate, times, the memory that they take. Raises `RunVoid` when a call failed."""
    check_linear(mesh)
    body = folder / "frame"
    body.write_bytes(framed(linear_request().SerializeToString()))
    before = statuses(mesh.target)
    load = ("--users", str(USERS), "--think", str(THINK_S), "--ramp", str(RAMP_S), "--seconds", str(SECONDS))
    crowd = printed("bench.users", str(body), *addressed(mesh.target, folder), *load)
    memory = mesh.memory()["inference"]
    await_statuses(mesh.target, before, crowd["requests"])
    name = f"{USERS:,} users, {THINK_S:g} s think time"
    median, p99, least, most = (crowd[key] for key in ("median_ms", "p99_ms", "min_ms", "max_ms"))
    return [
        _at_most(f"{name}: requests lost", crowd["lost"], "", 0.0, of=f"{crowd['requests']:,} sent"),
        Figure(f"{name}: rate", f"{crowd['timed']:,} timed", value=crowd["per_s"], unit="/s", must=1000.0),
        _at_most(f"{name}: mean time", crowd["mean_ms"], "ms", 2000.0),
        _at_most(
            f"{name}: P95",
            crowd["p95_ms"],
            "ms",
            1000.0,
            aim=300.0,
            of=f"median {median:.1f}, P99 {p99:.1f}, {least:.1f} to {most:.1f} ms",
        ),
        _at_most(f"{name}: P95 to the first byte", crowd["first_byte_p95_ms"], "ms", 500.0),
        Figure(f"{name}: memory of the replica", value=memory / MIB, unit="MiB"),
    ]


def overload(mesh: Mesh, folder: Path) -> list[Figure]:
    """`minilm` at three times its capacity, in open loop, with a deadline of a second; capacity is measured just before.

    Raises `RunVoid` when a call ended in any other way than served, refused or too late.
    """
    source = texts(mesh.model_file("minilm-tokenizer", "tokenizer.json"), itertools.repeat(TOKENS), seed=3)
    check_minilm(mesh, next(source))
    peak = distinct(mesh.target, itertools.islice(source, PEAK_REQUESTS), folder).per_s
    rate = OVERLOAD * peak
    frames = folder / "frames"
    requests = [framed(minilm_request(next(source)).SerializeToString()) for _ in range(int(rate * FLOOD_S))]
    frames.write_bytes(b"".join(requests))
    before = statuses(mesh.target)
    with ThreadPoolExecutor(1) as beside:
        where = addressed(mesh.target, folder)
        load = beside.submit(
            printed,
            "bench.flood",
            str(frames),
            *where,
            "--rate",
            str(rate),
            "--deadline-ms",
            str(DEADLINE_MS),
        )
        probes = refusals(mesh.target, source, DEADLINE_MS / 1000, load.done)
        flood = load.result()
    sent = flood["requests"] + probes.sent
    seen = {CODES[code]: count for code, count in ended(mesh.target, before, sent).items()}
    if seen.keys() - SERVED_OR_REFUSED:
        raise RunVoid(f"{mesh.target.name}: under overload grpc-status was {dict(seen)}")
    return _overload_figures(peak, flood, probes, seen)


def _overload_figures(
    peak: float, flood: Mapping[str, Any], probes: Probes, seen: Mapping[str, int]
) -> list[Figure]:
    name = f"`minilm` at {OVERLOAD} times its capacity"
    told = ", ".join(f"{code} {count:,}" for code, count in sorted(seen.items()))
    return [
        Figure(
            f"{name}: served / capacity",
            f"{flood['served'] / flood['seconds']:,.0f}/s; {told}",
            f"{peak:,.0f}/s",
            flood["served"] / flood["seconds"] / peak,
            must=0.8,
        ),
        _at_most(f"{name}: P99 of the served", flood["served_p99_ms"], "ms", 2 * DEADLINE_MS),
        _at_most(
            f"{name}: median time to a refusal",
            flood["refused_median_ms"],
            "ms",
            20.0,
            of=f"{flood['refused']:,} refused, P99 {flood['refused_p99_ms']:.1f} ms",
        ),
        Figure(
            f"{name}: refusals that say when to come again",
            f"{probes.hinted} of {probes.refused} looked at",
            value=probes.hinted / max(1, probes.refused),
            unit="",
            must=1.0,
        ),
    ]


def _at_most(
    name: str, value: float, unit: str, must: float, *, aim: float | None = None, of: str = ""
) -> Figure:
    return Figure(name, of, value=value, unit=unit, must=must, aim=aim, lower_is_better=True)
