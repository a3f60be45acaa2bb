"""Loading, reloading and unloading while a replica serves. Real models, real threads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from headrace.inference.assembly import Surroundings
from headrace.inference.control import AT_ONCE, MAX_WAITING, ModelControl, controlling
from headrace.inference.core.polling import Polling
from headrace.inference.core.repository import Entry, State
from headrace.inference.execution import Work
from headrace.inference.flights import FlightRecorder
from headrace.inference.folders import Repository
from headrace.inference.loader import Loader
from headrace.inference.models import Model
from headrace.inference.polling import fingerprints
from headrace.metering.client import Unmetered
from headrace.runtime.clock import SystemClock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import ANONYMOUS, Call
from headrace.runtime.telemetry import quiet
from tests.support.small import write_scale
from tests.support.waiting import aeventually

CLOCK = SystemClock()


@asynccontextmanager
async def controlled(repository: Path) -> AsyncIterator[ModelControl]:
    telemetry, _ = quiet()
    around = Surroundings(1, telemetry, Unmetered(), FlightRecorder(1, CLOCK), CLOCK, "inference-0")
    async with controlling(Loader(Repository(repository), {}), around) as control:
        yield control


async def answer(model: Model, number: float = 1.0) -> float:
    raw = np.array([[number, 0.0]], np.float32).tobytes()
    call = Call("/test", {}, ANONYMOUS, CLOCK.monotonic())
    outcome = await model.executor.submit(Work(1, [(1, 2)], [raw]), call, None)
    return float(np.frombuffer(outcome.answer.values[0], np.float32)[0])


def entries(control: ModelControl, name: str = "scale") -> list[Entry]:
    return control.models.index.entries(name)


async def until_unloaded(control: ModelControl, version: str, name: str = "scale") -> None:
    await aeventually(lambda: Entry(version, State.UNAVAILABLE, "unloaded") in entries(control, name))


async def test_a_reload_serves_the_new_version_before_the_old_one_drains(tmp_path: Path) -> None:
    """Who holds the old one is answered by it, although the new one is found; then the old one is closed."""
    write_scale(tmp_path, factor=2.0)
    async with controlled(tmp_path) as control:
        await control.load("scale")
        old = control.models.find("scale", "")
        old.use.enter()
        write_scale(tmp_path, factor=3.0, version="2")
        await control.load("scale")
        new = control.models.find("scale", "")
        assert entries(control) == [Entry("1", State.UNLOADING), Entry("2", State.READY)]
        assert (await answer(old), await answer(new)) == (2.0, 3.0)
        old.use.leave()
        await until_unloaded(control, "1")
        assert await answer(new) == 3.0


async def test_no_request_fails_while_a_model_is_reloaded(tmp_path: Path) -> None:
    """Each is answered by the version that it found, for as many reloads as there are."""
    write_scale(tmp_path, factor=1.0)
    async with controlled(tmp_path) as control:
        await control.load("scale")
        done = asyncio.Event()

        async def ask() -> set[float]:
            seen = set()
            while not done.is_set():
                model = control.models.find("scale", "")
                model.use.enter()
                try:
                    seen.add(await answer(model))
                finally:
                    model.use.leave()
            return seen

        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(ask()) for _ in range(8)]
            for factor in (2.0, 3.0, 4.0, 5.0):
                write_scale(tmp_path, factor=factor)
                await control.load("scale")
                assert await answer(control.models.find("scale", "")) == factor
            done.set()
        assert set().union(*(task.result() for task in asking)) <= {1.0, 2.0, 3.0, 4.0, 5.0}


async def test_a_load_that_fails_leaves_what_serves(tmp_path: Path) -> None:
    """The index tells why; the next good load clears it."""
    write_scale(tmp_path)
    async with controlled(tmp_path) as control:
        await control.load("scale")
        file = tmp_path / "scale" / "1" / "model.onnx"
        good = file.read_bytes()
        file.write_bytes(good[:40])
        with pytest.raises(HeadraceError, match="is no ONNX model") as error:
            await control.load("scale")
        assert error.value.reason == "MODEL_LOAD_FAILED"
        assert str(tmp_path) not in error.value.message
        assert await answer(control.models.find("scale", "")) == 2.0
        (entry,) = entries(control)
        assert (entry.version, entry.state) == ("1", State.READY)
        assert "is no ONNX model" in entry.reason
        assert not control.models.unready(0.0)
        file.write_bytes(good)
        await control.load("scale")
        assert entries(control) == [Entry("1", State.READY)]


async def test_what_has_not_changed_goes_on_as_it_is(tmp_path: Path) -> None:
    """A reload of the same files is the same model: its queue, its threads, its shared answers."""
    write_scale(tmp_path)
    async with controlled(tmp_path) as control:
        await control.load("scale")
        before = control.models.find("scale", "")
        await control.load("scale")
        assert control.models.find("scale", "") is before
        assert await answer(before) == 2.0


async def test_an_unload_tells_first_and_waits_for_who_is_served(tmp_path: Path) -> None:
    """Not found any more at once; closed behind the last request; loaded again on request."""
    write_scale(tmp_path)
    async with controlled(tmp_path) as control:
        await control.load("scale")
        model = control.models.find("scale", "")
        model.use.enter()
        unloading = asyncio.create_task(control.unload("scale"))
        await aeventually(lambda: entries(control)[0].state is State.UNLOADING)
        with pytest.raises(HeadraceError, match="'scale' is UNLOADING"):
            control.models.find("scale", "")
        assert await answer(model) == 2.0
        assert not unloading.done()
        model.use.leave()
        await unloading
        assert entries(control) == [Entry("1", State.UNAVAILABLE, "unloaded")]
        await control.load("scale")
        assert await answer(control.models.find("scale", "1")) == 2.0


async def test_counts_go_on_over_a_reload(tmp_path: Path) -> None:
    """A version's statistics are the version's, not those of one load of it."""
    write_scale(tmp_path, factor=2.0)
    async with controlled(tmp_path) as control:
        await control.load("scale")
        await answer(control.models.find("scale", ""))
        write_scale(tmp_path, factor=3.0)
        await control.load("scale")
        await answer(control.models.find("scale", ""))
        assert control.models.find("scale", "").statistics.message().execution_count == 2


async def test_a_caller_who_leaves_does_not_stop_a_load(tmp_path: Path) -> None:
    """Half a load would leave nobody to finish it."""
    write_scale(tmp_path)
    async with controlled(tmp_path) as control:
        loading = asyncio.create_task(control.load("scale"))
        await asyncio.sleep(0)
        loading.cancel()
        await aeventually(lambda: control.models.index.state("scale") is State.READY)


async def test_loads_at_once_are_bounded(tmp_path: Path) -> None:
    """Those beyond are refused at once, and hurt none of the others."""
    write_scale(tmp_path)
    async with controlled(tmp_path) as control:
        asked = [asyncio.create_task(control.load("scale")) for _ in range(MAX_WAITING + 5)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        refused = [error for error in results if isinstance(error, HeadraceError)]
        assert [error.reason for error in refused] == ["LOADS_BUSY"] * 5
        assert refused[0].retry_after_s
        assert AT_ONCE < MAX_WAITING
        assert await answer(control.models.find("scale", "")) == 2.0


async def test_several_versions_serve_and_the_newest_is_meant(tmp_path: Path) -> None:
    """Each by its number, the newest without one; counted apart."""
    write_scale(tmp_path, factor=2.0, config="version_policy { all { } }")
    write_scale(tmp_path, factor=3.0, version="2")
    async with controlled(tmp_path) as control:
        await control.load("scale")
        assert [await answer(control.models.find("scale", v)) for v in ("1", "2", "")] == [2.0, 3.0, 3.0]
        with pytest.raises(HeadraceError, match="has no version '3'"):
            control.models.find("scale", "3")
        counts = [model.statistics.message().execution_count for model in control.models.versions("scale")]
        assert counts == [1, 2]


async def test_a_look_sees_what_can_not_be_read_too(tmp_path: Path) -> None:
    """Its load fails, and the index tells why; it is not loaded again at every look."""
    write_scale(tmp_path)
    repository = Repository(tmp_path)
    polling = Polling(fingerprints(repository))
    (tmp_path / "scale" / "1" / "out").symlink_to("/etc/hostname")
    assert polling.look(fingerprints(repository)).load == ()
    assert polling.look(fingerprints(repository)).load == ("scale",)
    assert polling.look(fingerprints(repository)).load == ()
