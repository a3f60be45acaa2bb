"""What a replica knows of a model from its folder."""

from pathlib import Path

import pytest

from headrace.inference.assembly import Surroundings
from headrace.inference.demo.catalogue import demo_models
from headrace.inference.demo.layout import lay_out
from headrace.inference.flights import FlightRecorder
from headrace.inference.folders import Repository
from headrace.inference.loader import Loader
from headrace.inference.serving import serving_models
from headrace.inference.settings import RepositorySettings
from headrace.metering.client import Unmetered
from headrace.runtime.clock import SystemClock
from headrace.runtime.telemetry import quiet
from tests.support.small import write_scale

LINEARS = ("linear", "linear-cached")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The two small demo models."""
    lay_out(tmp_path, models=[model for model in demo_models() if model.name in LINEARS])
    return tmp_path


def digest(repository: Path, model: str = "linear") -> str:
    """As a replica that starts now has it."""
    return Loader(Repository(repository), {}).load(model)[-1].digest


def test_the_digest_changes_with_the_files_and_the_configuration(repository: Path) -> None:
    """Cached answers of other weights, or of another configuration, are not found."""
    found = digest(repository)
    assert digest(repository) == found
    config = repository / "linear" / "config.pbtxt"
    config.write_text(config.read_text() + 'parameters { key: "a" value { string_value: "b" } }')
    configured = digest(repository)
    (repository / "linear" / "1" / "weights.bin").write_bytes(b"1")
    filled = digest(repository)
    (repository / "linear" / "1" / "weights.bin").write_bytes(b"2")
    assert len({found, configured, filled, digest(repository)}) == 4


async def test_only_models_that_say_so_are_cached(repository: Path) -> None:
    """Triton's `response_cache { enable: true }`."""
    telemetry, _ = quiet()
    clock = SystemClock()
    around = Surroundings(1, telemetry, Unmetered(), FlightRecorder(1, clock), clock, "inference-0")
    async with serving_models(RepositorySettings(repository), {}, around) as control:
        assert {name: control.models.find(name, "").cacheable for name in LINEARS} == {
            "linear": False,
            "linear-cached": True,
        }


def test_versions_of_the_same_files_have_digests_of_their_own(tmp_path: Path) -> None:
    """An answer tells its version: one of the other must not be found in a cache."""
    write_scale(tmp_path, config="version_policy { all {} }")
    write_scale(tmp_path, version="2")
    one, two = Loader(Repository(tmp_path), {}).load("scale")
    assert one.digest != two.digest
