"""Ensembles beside the models of their steps while those are loaded, reloaded and unloaded. Real models and threads."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from headrace.inference.control import ModelControl
from headrace.inference.core.repository import Entry, State
from headrace.inference.describing import is_ready, metadata_of, statistics_of
from headrace.inference.execution import Work
from headrace.runtime.clock import SystemClock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import ANONYMOUS, Call
from tests.support.small import (
    ensemble,
    step,
    write_encoder,
    write_ensemble,
    write_scale,
    write_text,
)
from tests.support.waiting import aeventually
from tests.unit.inference.test_control import controlled, entries

CLOCK = SystemClock()
TEXT = "text"


async def embedding(control: ModelControl, *texts: bytes, name: str = TEXT) -> list[float]:
    model = control.models.find(name, "")
    model.use.enter()
    try:
        call = Call("/test", {}, ANONYMOUS, CLOCK.monotonic())
        outcome = await model.executor.submit(Work(len(texts), [(len(texts),)], [list(texts)]), call, None)
    finally:
        model.use.leave()
    return np.frombuffer(outcome.answer.values[0], np.float32).tolist()


def refusal(control: ModelControl, name: str = TEXT) -> HeadraceError:
    with pytest.raises(HeadraceError) as error:
        control.models.find(name, "")
    return error.value


async def test_an_ensemble_answers_by_all_its_steps(tmp_path: Path) -> None:
    """Words become ids, ids a sum; each text of a request by itself, however long the others are."""
    write_text(tmp_path)
    async with controlled(tmp_path) as control:
        await control.load(TEXT)
        assert await embedding(control, b"a b c") == [6.0]
        assert await embedding(control, b"a", b"a b c", b"", b"c c c c") == [1.0, 6.0, 0.0, 12.0]


async def test_the_models_of_the_steps_are_loaded_with_it(tmp_path: Path) -> None:
    """As Triton does; those that serve already are left alone."""
    write_text(tmp_path)
    async with controlled(tmp_path) as control:
        await control.load("words")
        before = control.models.find("words", "")
        await control.load(TEXT)
        assert [model.name for model in control.models.all()] == ["encoder", TEXT, "words"]
        assert control.models.find("words", "") is before


async def test_a_step_that_is_loaded_again_serves_the_next_request(tmp_path: Path) -> None:
    """And the digest is another: what a cache has of the one before is not found any more."""
    write_text(tmp_path)
    async with controlled(tmp_path) as control:
        await control.load(TEXT)
        before = control.models.find(TEXT, "")
        before.use.enter()
        write_encoder(tmp_path, factor=2.0)
        await control.load("encoder")
        after = control.models.find(TEXT, "")
        assert before.digest != after.digest
        assert await embedding(control, b"a b") == [6.0]
        call = Call("/test", {}, ANONYMOUS, CLOCK.monotonic())
        held = await before.executor.submit(Work(1, [(1,)], [[b"a b"]]), call, None)
        assert np.frombuffer(held.answer.values[0], np.float32).tolist() == [3.0]  # by what it began with
        before.use.leave()
        assert statistics_of(control.models, TEXT, "").model_stats[0].execution_count == 2


async def test_an_ensemble_that_has_not_changed_keeps_its_digest(tmp_path: Path) -> None:
    """Whoever loads a step again as it was loses no cached answer."""
    write_text(tmp_path)
    async with controlled(tmp_path) as control:
        await control.load(TEXT)
        before = control.models.find(TEXT, "")
        await control.load("encoder")
        assert control.models.find(TEXT, "") is before


async def test_without_a_step_it_is_not_ready_and_says_which(tmp_path: Path) -> None:
    """Whoever is on the way is answered first; with the step again it serves again."""
    write_text(tmp_path)
    async with controlled(tmp_path) as control:
        await control.load(TEXT)
        await control.unload("words")
        error = refusal(control)
        assert (error.reason, error.metadata["lacks"]) == ("MODEL_NOT_READY", "words")
        assert "'words' does not serve" in error.message
        assert not is_ready(control.models, TEXT, "", CLOCK.monotonic())
        (entry,) = entries(control, TEXT)
        assert entry.state is State.UNAVAILABLE
        assert "step[0]: model 'words'" in entry.reason
        assert not control.models.unready(0.0)  # somebody wants it so
        await control.load("words")
        assert entries(control, TEXT) == [Entry("1", State.READY)]
        assert await embedding(control, b"a b") == [3.0]


async def test_a_step_that_no_longer_fits_takes_the_ensemble_out(tmp_path: Path) -> None:
    """Its model is another's now, and serves as that."""
    write_text(tmp_path)
    async with controlled(tmp_path) as control:
        await control.load(TEXT)
        (tmp_path / "encoder" / "config.pbtxt").unlink()
        write_scale(tmp_path, "encoder")
        await control.load("encoder")
        assert refusal(control).reason == "MODEL_NOT_READY"
        assert "input_map['attention_mask']: model 'encoder' has ['x']" in entries(control, TEXT)[0].reason
        assert control.models.find("encoder", "").name == "encoder"


async def test_an_ensemble_goes_with_its_steps_or_leaves_them(tmp_path: Path) -> None:
    """`unload_dependents`, as Triton has it: but for a step that another ensemble has too."""
    write_text(tmp_path)
    config = (tmp_path / TEXT / "config.pbtxt").read_text()
    write_encoder(tmp_path, "other")
    write_ensemble(tmp_path, "both", config.replace('"encoder"', '"other"'))
    async with controlled(tmp_path) as control:
        await control.load(TEXT)
        await control.load("both")
        await control.unload("both", dependents=True)
        assert [model.name for model in control.models.all()] == ["encoder", TEXT, "words"]
        await control.unload(TEXT)
        assert [model.name for model in control.models.all()] == ["encoder", "words"]


X = 'input { name: "x" data_type: TYPE_FP32 dims: 2 }'
Y = 'output { name: "y" data_type: TYPE_FP32 dims: 2 }'


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (
            ensemble(step("absent", {"x": "x"}, {"y": "y"}), inputs=X, outputs=Y),
            r"step[0]: no model 'absent'",
        ),
        (
            ensemble(step("scale", {"x": "x"}, {"y": "y"}, version=7), inputs=X, outputs=Y),
            "step[0]: model 'scale' has no version '7'",
        ),
        (
            ensemble(step("inner", {"x": "x"}, {"y": "y"}), inputs=X, outputs=Y),
            "step[0].model_name: 'inner' is an ensemble itself",
        ),
        (
            ensemble(step("scale", {"x": "x"}, {"y": "y"}), inputs=X, outputs=Y, more="max_batch_size: 64"),
            "max_batch_size: expected at most 32",
        ),
        (
            ensemble(step("broken", {"x": "x"}, {"y": "y"}), inputs=X, outputs=Y),
            "step[0]: model 'broken' is UNAVAILABLE",
        ),
    ],
)
async def test_an_ensemble_over_what_does_not_serve_is_not_loaded(
    tmp_path: Path, config: str, problem: str
) -> None:
    """The index tells the field; the other models serve."""
    write_scale(tmp_path)
    write_scale(tmp_path, "broken", config='backend: "none"')
    write_ensemble(tmp_path, "inner", ensemble(step("scale", {"x": "x"}, {"y": "y"}), inputs=X, outputs=Y))
    write_ensemble(tmp_path, "whole", config)
    async with controlled(tmp_path) as control:
        await control.load("scale")
        with pytest.raises(HeadraceError) as error:
            await control.load("whole")
        assert error.value.reason == "MODEL_LOAD_FAILED"
        assert "whole/config.pbtxt: " in error.value.message
        assert problem in error.value.message
        assert control.models.find("scale", "").name == "scale"
        assert control.models.unready(0.0)


async def test_metadata_is_the_ensembles_own(tmp_path: Path) -> None:
    """Triton's platform name; shapes with the batch dimension."""
    write_text(tmp_path)
    async with controlled(tmp_path) as control:
        await control.load(TEXT)
        told = metadata_of(control.models, TEXT, "")
        assert (told.platform, list(told.versions)) == ("ensemble", ["1"])
        assert [(one.name, one.datatype, list(one.shape)) for one in told.inputs] == [("text", "BYTES", [-1])]


async def test_the_models_of_a_retired_ensemble_are_let_go(tmp_path: Path) -> None:
    """Unloading a step ends when the last request that holds the ensemble has its answer, and no sooner."""
    write_text(tmp_path)
    async with controlled(tmp_path) as control:
        await control.load(TEXT)
        held = control.models.find(TEXT, "")
        held.use.enter()
        unloading = asyncio.create_task(control.unload("encoder"))
        await aeventually(lambda: entries(control, "encoder")[0].state is State.UNLOADING)
        call = Call("/test", {}, ANONYMOUS, CLOCK.monotonic())
        outcome = await held.executor.submit(Work(1, [(1,)], [[b"a"]]), call, None)
        assert np.frombuffer(outcome.answer.values[0], np.float32).tolist() == [1.0]
        assert not unloading.done()
        held.use.leave()
        await unloading
        assert entries(control, "encoder") == [Entry("1", State.UNAVAILABLE, "unloaded")]
