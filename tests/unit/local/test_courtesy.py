"""A replica that comes while others work has little weight until it is ready."""

from pathlib import Path

import pytest

from headrace.local.courtesy import LOW, USUAL, Courtesy
from headrace.local.spec import Spec
from tests.fakes.local import FakeLauncher

SPEC = Spec(
    "inference-1", "inference", ("/bin/true",), {}, "127.0.0.1:1", (), "inference.port", Path("one.log")
)


@pytest.fixture
def weight(tmp_path: Path) -> Path:
    """The kernel's file of the first process that a `FakeLauncher` starts, as it is at first."""
    file = tmp_path / "100" / "autogroup"
    file.parent.mkdir()
    file.write_text("-")
    return file


def written(weight: Path) -> str:
    """What was written since the last look."""
    text = weight.read_text()
    weight.write_text("-")
    return text


async def test_a_coming_process_has_little_weight_until_the_end(weight: Path, tmp_path: Path) -> None:
    """Then that of any other; a second end changes nothing."""
    courtesy = Courtesy(FakeLauncher(), tmp_path)
    await courtesy.launch(SPEC)
    assert written(weight) == str(LOW)
    courtesy.end()
    assert written(weight) == str(USUAL)
    courtesy.end()
    assert written(weight) == "-"


async def test_what_is_started_again_later_has_its_weight_at_once(weight: Path, tmp_path: Path) -> None:
    """A replica that was ready and died comes back as quickly as it can: others do its work meanwhile."""
    courtesy = Courtesy(FakeLauncher(), tmp_path)
    courtesy.end()
    await courtesy.launch(SPEC)
    assert written(weight) == "-"


async def test_where_the_kernel_knows_no_such_weight_nothing_happens(tmp_path: Path) -> None:
    """The process starts as it would have."""
    courtesy = Courtesy(FakeLauncher(), tmp_path)
    assert (await courtesy.launch(SPEC)).pid == 100
    courtesy.end()


async def test_a_start_that_fails_fails_as_before(tmp_path: Path) -> None:
    """And its end is no mistake."""
    courtesy = Courtesy(FakeLauncher(errors=[OSError("no memory")]), tmp_path)
    with pytest.raises(OSError, match="no memory"):
        await courtesy.launch(SPEC)
    courtesy.end()
