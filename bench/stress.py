"""Figures under many users: the specification's A1 to A5, on `linear`."""

from pathlib import Path

from bench.calls import check_linear
from bench.counts import await_statuses, statuses
from bench.figures import Figure
from bench.frames import framed, linear_request
from bench.mesh import MIB, Mesh
from bench.programs import addressed, printed

USERS, THINK_S, RAMP_S, SECONDS = 5000, 2.5, 10.0, 20.0


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


def _at_most(
    name: str, value: float, unit: str, must: float, *, aim: float | None = None, of: str = ""
) -> Figure:
    return Figure(name, of, value=value, unit=unit, must=must, aim=aim, lower_is_better=True)
