"""What a process may use: of the machine, or of a control group that limits it."""

from pathlib import Path

from headrace.inference.machine import Machine


def group(tmp_path: Path, **files: str) -> Machine:
    """A machine whose kernel tells this of the process's group."""
    own = tmp_path / "cgroups" / "mesh.slice"
    own.mkdir(parents=True)
    for name, text in files.items():
        (own / name.replace("_", ".", 1)).write_text(text + "\n")
    membership = tmp_path / "cgroup"
    membership.write_text("0::/mesh.slice\n")
    return Machine(tmp_path / "cgroups", membership)


def test_a_limited_group_is_the_machine(tmp_path: Path) -> None:
    """Its limit is all the memory there is; pages that the kernel can take back are not in use."""
    machine = group(
        tmp_path, memory_max="1000", memory_current="700", memory_stat="anon 500\ninactive_file 200"
    )
    assert machine.memory() == 0.5


def test_a_group_without_a_limit_leaves_the_machine(tmp_path: Path) -> None:
    """`max` is no limit: the machine's own memory counts, which is somewhere between none and all."""
    machine = group(tmp_path, memory_max="max", memory_current="700", cpu_max="max 100000")
    assert 0.0 < machine.memory() < 1.0
    assert machine.cores() >= 1.0


def test_a_quota_of_cpu_time_bounds_the_cores(tmp_path: Path) -> None:
    """Half a core's time is half a core, however many there are."""
    assert group(tmp_path, cpu_max="50000 100000").cores() == 0.5


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    """No files, no limits."""
    machine = Machine(tmp_path / "none", tmp_path / "neither")
    assert machine.cores() >= 1.0
    assert 0.0 < machine.memory() < 1.0
