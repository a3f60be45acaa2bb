"""The meshes of a test session: each started once as long as it is used, few beside each other.

A mesh that nobody asks costs some of a core all the same, and ten of them slow
every test down.
"""

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from tests.support.mesh import Mesh, MeshOptions, running_mesh

BESIDE_EACH_OTHER = 3
"""More than a module uses, so that none is ended under its tests."""

Running = tuple[AbstractContextManager[Mesh], Mesh]


class Meshes:
    """Meshes by their options; the one that was used longest ago ends when another is wanted."""

    def __init__(self, models: Path) -> None:
        self._models = models
        self._running: OrderedDict[str, Running] = OrderedDict()
        # The end of a mesh is mostly waiting: nobody waits for it.
        self._threads = ThreadPoolExecutor(BESIDE_EACH_OTHER)
        self._ends: list[Future[None]] = []

    def __enter__(self) -> "Meshes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._threads:
            self._ends += [self._threads.submit(_end, one) for one in self._running.values()]
        for ended in self._ends:
            ended.result()

    def get(self, options: MeshOptions) -> Mesh:
        """The mesh with these options, and with the models that were built before."""
        key = repr(options)
        if key not in self._running:
            if len(self._running) >= BESIDE_EACH_OTHER:
                _, oldest = self._running.popitem(last=False)
                self._ends.append(self._threads.submit(_end, oldest))
            one = running_mesh(replace(options, models_from=self._models))
            self._running[key] = (one, one.__enter__())
        self._running.move_to_end(key)
        return self._running[key][1]


def _end(running: Running) -> None:
    running[0].__exit__(None, None, None)
