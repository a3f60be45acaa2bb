"""Registered regions: whose they are, what can be none, and what becomes of bytes in them."""

import os
from pathlib import Path

import pytest

from headrace.inference.core.memory import Region, Use
from headrace.inference.regions import (
    MAX_REGIONS_OF_TENANT,
    RegionExists,
    RegionProblem,
    Regions,
    TooManyRegions,
)

CONTENT = bytes(range(64))


@pytest.fixture
def shm(tmp_path: Path) -> Path:
    """Where shared memory is, with `a` of 64 bytes."""
    (tmp_path / "shm").mkdir()
    (tmp_path / "shm" / "a").write_bytes(CONTENT)
    return tmp_path / "shm"


@pytest.fixture
def regions(shm: Path) -> Regions:
    return Regions(shm.parent / "registered" / "memory", shm)


def use(region: str, offset: int = 0, byte_size: int = 8) -> Use:
    return Use(region, offset, byte_size, "inputs[0]")


def problem(regions: Regions, region: Region, tenant: str = "acme") -> tuple[str, str]:
    """What registering it is refused with; it is not there then."""
    with pytest.raises(RegionProblem) as error:
        regions.register(tenant, "refused", region)
    assert "refused" not in regions.of(tenant)
    return error.value.field, error.value.problem


def test_a_region_is_read_and_written(regions: Regions, shm: Path) -> None:
    """From its offset on, and from the use's offset in it."""
    regions.register("acme", "r", Region("/a", 16, 32))
    assert regions.of("acme") == {"r": Region("/a", 16, 32)}
    assert regions.read("acme", [use("r"), use("r", 24)]) == [CONTENT[16:24], CONTENT[40:48]]
    regions.write("acme", [(use("r", 2), memoryview(b"new"))])
    assert (shm / "a").read_bytes() == CONTENT[:18] + b"new" + CONTENT[21:]


def test_every_replica_knows_it_at_once(regions: Regions, shm: Path) -> None:
    """Those that share the directory, and one that starts later; until it is unregistered."""
    regions.register("acme", "r", Region("/a", 0, 64))
    other = Regions(shm.parent / "registered" / "memory", shm)
    assert other.read("acme", [use("r")]) == [CONTENT[:8]]
    with pytest.raises(RegionExists):
        other.register("acme", "r", Region("/a", 0, 8))
    other.unregister("acme", "r")
    with pytest.raises(RegionProblem, match="no such region"):
        regions.read("acme", [use("r")])


def test_a_tenant_sees_its_own_only(regions: Regions, shm: Path) -> None:
    """Not another's regions, not by their names, and not the memory under a name of its own."""
    (shm / "b").write_bytes(CONTENT)
    regions.register("acme", "r", Region("/a", 0, 64))
    assert regions.of("other") == {}
    for act in (
        lambda: regions.read("other", [use("r")]),
        lambda: regions.check("other", [use("r")]),
        lambda: regions.write("other", [(use("r"), b"x")]),
    ):
        with pytest.raises(RegionProblem, match="no such region"):
            act()
    assert problem(regions, Region("/a", 0, 8), "other") == ("key", "is another tenant's")
    assert problem(regions, Region("a", 0, 8), "other") == ("key", "is another tenant's")
    regions.register("other", "r", Region("/b", 0, 64))
    regions.unregister("other")
    assert set(regions.of("acme")) == {"r"}
    regions.unregister("acme")
    regions.register("other", "mine", Region("/a", 0, 8))


def test_nothing_leads_out(regions: Regions, shm: Path) -> None:
    """No path, no link, no second name, no pipe, no folder, nothing that is not there; all look alike."""
    secret = shm.parent / "secret"
    secret.write_bytes(CONTENT)
    (shm / "link").symlink_to(secret)
    os.link(secret, shm / "hard")
    os.mkfifo(shm / "pipe")
    (shm / "folder").mkdir()
    for key in ("../secret", "/../secret", "folder/../../secret", str(secret), ""):
        assert problem(regions, Region(key, 0, 8)) == ("key", "expected a name without a path, as /name")
    for key in ("link", "hard", "pipe", "folder", "absent"):
        assert problem(regions, Region(key, 0, 8)) == ("key", "there is no such shared memory")
    assert secret.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("offset", "byte_size"), [(0, 65), (64, 1), (60, 5), (0, 0), (2**63, 8), (8, 2**64 - 1), (-1, 8)]
)
def test_a_region_lies_in_its_memory(regions: Regions, offset: int, byte_size: int) -> None:
    """Which is as large as it is, whatever is said."""
    assert problem(regions, Region("/a", offset, byte_size))[0] == "byte_size"


@pytest.mark.parametrize(("offset", "byte_size"), [(0, 33), (32, 1), (25, 8), (2**63, 1), (-1, 8)])
def test_a_use_lies_in_its_region(regions: Regions, offset: int, byte_size: int) -> None:
    """Also where the memory goes on behind it; the tensor is named."""
    regions.register("acme", "r", Region("/a", 0, 32))
    with pytest.raises(RegionProblem) as error:
        regions.read("acme", [use("r", offset, byte_size)])
    assert (error.value.field, error.value.tensor) == ("byte_size", "inputs[0]")


def test_memory_that_was_shortened_is_an_error(regions: Regions, shm: Path) -> None:
    """Not the end of the process, and it is not made longer again."""
    regions.register("acme", "r", Region("/a", 0, 64))
    os.truncate(shm / "a", 10)
    for act in (
        lambda: regions.read("acme", [use("r")]),
        lambda: regions.check("acme", [use("r", 32)]),
        lambda: regions.write("acme", [(use("r", 32), b"x")]),
    ):
        with pytest.raises(RegionProblem, match="64 bytes"):
            act()
    assert (shm / "a").stat().st_size == 10


def test_what_took_its_place_is_looked_at_anew(regions: Regions, shm: Path) -> None:
    """A link that stands where the memory was is none."""
    regions.register("acme", "r", Region("/a", 0, 64))
    (shm / "a").rename(shm.parent / "elsewhere")
    (shm / "a").symlink_to(shm.parent / "elsewhere")
    with pytest.raises(RegionProblem, match="no such shared memory"):
        regions.read("acme", [use("r")])


def test_nothing_is_written_when_something_does_not_fit(regions: Regions, shm: Path) -> None:
    """All outputs or none."""
    regions.register("acme", "r", Region("/a", 0, 64))
    with pytest.raises(RegionProblem, match="at least 9"):
        regions.write("acme", [(use("r"), b"fits"), (use("r", 8), b"too large")])
    with pytest.raises(RegionProblem, match="no such region"):
        regions.write("acme", [(use("r"), b"fits"), (use("absent"), b"x")])
    assert (shm / "a").read_bytes() == CONTENT


def test_regions_are_counted(regions: Regions, shm: Path) -> None:
    """A tenant that has as many as may be unregisters one first."""
    for number in range(MAX_REGIONS_OF_TENANT):
        regions.register("acme", f"r{number}", Region("/a", 0, 8))
    with pytest.raises(TooManyRegions):
        regions.register("acme", "one more", Region("/a", 0, 8))
    (shm / "b").write_bytes(CONTENT)
    regions.register("other", "r0", Region("/b", 0, 8))
    regions.unregister("acme", "r0")
    regions.register("acme", "one more", Region("/a", 0, 8))


def test_a_name_is_no_path(regions: Regions, shm: Path) -> None:
    """Whatever it is, the registration stays in its folder."""
    for name in ("../../up", "/etc/x", "..", "a/b", "nul\0", "ä" * 100):
        regions.register("../acme", name, Region("/a", 0, 8))
        assert regions.read("../acme", [use(name)]) == [CONTENT[:8]]
    found = {path.parent for path in shm.parent.rglob("*") if path.is_file()} - {shm}
    assert found == {shm.parent / "registered" / "memory"}
