"""What this process may use of its machine, and how much of the memory is in use."""

import os
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")


class Machine:
    """Reads the kernel's files. A control group (v2) with a limit counts as the machine.

    Every method blocks, for well under a millisecond.
    """

    def __init__(self, root: Path = CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> None:
        self._group = _group(root, membership)

    def cores(self) -> float:
        """Cores that the process may use, at least a hundredth: its affinity, less what its group may not."""
        mine = float(len(os.sched_getaffinity(0)))
        quota, _, period = self._text("cpu.max").partition(" ")
        if quota.isdigit() and period.strip().isdigit():
            mine = min(mine, int(quota) / int(period))
        return max(mine, 0.01)

    def memory(self) -> float:
        """Share of the memory in use, 0 to 1: of the group where it is limited, of the machine otherwise."""
        limit, used = self._text("memory.max"), self._text("memory.current")
        if limit.isdigit() and used.isdigit():
            return min(1.0, max(0, int(used) - self._reclaimable()) / max(1, int(limit)))
        machine = psutil.virtual_memory()
        return 1.0 - machine.available / machine.total

    def _reclaimable(self) -> int:
        """File pages that the kernel would give up first."""
        for line in self._text("memory.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == "inactive_file":
                return int(value)
        return 0

    def _text(self, name: str) -> str:
        try:
            return (self._group / name).read_text().strip()
        except OSError:
            return ""  # no such controller here: nothing is limited by it


def _group(root: Path, membership: Path) -> Path:
    """The process's own group; the root of what it sees where that is not there, as in a container."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return root
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    return root / own if (root / own).is_dir() else root
