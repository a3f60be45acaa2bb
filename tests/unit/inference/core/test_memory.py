"""What of shared memory may be registered and used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.core.memory import Region, Use, file_name, name_problem, region_problem, use_problem

SIZES = st.integers(-(2**64), 2**64) | st.integers(-3, 30)


@pytest.mark.parametrize("key", ["/input", "input", "/a.b-c_9", "/...", "/psm_1234"])
def test_a_key_is_a_name(key: str) -> None:
    """With POSIX's slash before it or without."""
    assert file_name(key) == key.removeprefix("/")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        ".",
        "..",
        "/..",
        "//a",
        "/a/b",
        "a/..",
        "../etc/passwd",
        "/a\0",
        "/a\n",
        "/ä",
        "/a b",
        "/" + "a" * 201,
    ],
)
def test_a_key_is_no_path(key: str) -> None:
    """Nothing that leads anywhere."""
    assert file_name(key) == ""


@given(SIZES, SIZES, st.integers(0, 30), SIZES, SIZES)
def test_what_is_used_lies_in_the_file(offset: int, size: int, file: int, use_offset: int, used: int) -> None:
    """Whatever the numbers: a region and a use without a problem are bytes that are there."""
    region, use = Region("/k", offset, size), Use("r", use_offset, used, "inputs[0]")
    if not region_problem(region, file) and not use_problem(use, region):
        first = region.offset + use.offset
        assert 0 <= first <= first + use.byte_size <= region.offset + region.byte_size <= file
    if not region_problem(region, file):
        assert region.byte_size > 0
        assert not use_problem(Use("r", 0, size, ""), region)


def test_names_are_bounded() -> None:
    """Any characters, not any number of them."""
    assert name_problem("../ä\0") == name_problem("a" * 256) == ""
    assert name_problem("")
    assert name_problem("a" * 257)


def test_an_answer_tells_where_its_output_is() -> None:
    """As Triton has it; no offset where there is none."""
    assert Use("r", 0, 64, "").told(16) == {"shared_memory_region": "r", "shared_memory_byte_size": 16}
    assert Use("r", 8, 64, "").told(16)["shared_memory_offset"] == 8
