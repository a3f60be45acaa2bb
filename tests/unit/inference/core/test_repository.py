"""Names, versions and states of a repository."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.core.repository import (
    STEPS,
    Entry,
    Event,
    Index,
    State,
    VersionPolicy,
    name_problem,
    versions_of,
)

REFUSED = [
    "",
    ".",
    "..",
    " ..",
    ".. ",
    "../etc",
    "a/../b",
    "a/b",
    "/etc/passwd",
    "model/",
    "/",
    "//",
    "./model",
    "..\\etc",
    "C:\\model",
    "\\",
    "a\0b",
    "\0",
    "model\n",
    "a\rb",
    "a\x1b[2J",
    "\x7f",
    " model",
    "model ",
    "\u00a0model",
    "x" * 256,
    "\u00e9" * 128,
    "\ud800/",
    ".headrace-lock",
    ".headrace-staging-1",
    "a/",
    "../../../../proc/self/environ",
]


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_is_one_folder_and_no_way_out(name: str) -> None:
    """Whatever could be read as a path, a control character or one of our own entries is refused."""
    assert name_problem(name)


@pytest.mark.parametrize(
    "name", ["...", "model..1", "..model", "-", "minilm-encoder", "\u00e9" * 127, "x" * 255]
)
def test_unusual_names_are_names(name: str) -> None:
    """Dots alone don't lead anywhere."""
    assert name_problem(name) == ""


@given(st.text(max_size=300))
def test_no_name_that_passes_leaves_its_folder(name: str) -> None:
    """What passes is one component of a path, and not a way up."""
    if not name_problem(name):
        assert "/" not in name
        assert "\0" not in name
        assert name not in ("", ".", "..")
        assert len(name.encode()) <= 255


def test_versions_are_numbers_without_leading_zeros() -> None:
    """As Triton: other folders are no versions."""
    assert versions_of(["10", "2", "1", "01", "0", "-1", "1.0", "latest", "\u0661", "9" * 19]) == [1, 2, 10]


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (VersionPolicy(), [5]),
        (VersionPolicy(latest=2), [3, 5]),
        (VersionPolicy(latest=9), [1, 3, 5]),
        (VersionPolicy(specific=(1, 5, 7)), [1, 5]),
        (VersionPolicy(specific=(7,)), []),
        (VersionPolicy(every=True), [1, 3, 5]),
    ],
)
def test_the_policy_chooses_what_serves(policy: VersionPolicy, chosen: list[int]) -> None:
    """The newest by default; of the named ones those that exist."""
    assert policy.choose([1, 3, 5]) == chosen


@given(st.lists(st.sampled_from(Event)))
def test_only_an_unload_ends_serving(events: list[Event]) -> None:
    """A version that serves is READY until it is unloaded, whatever is loaded or fails meanwhile."""
    entry = Entry("1", State.READY)
    for event in events:
        after = entry.after(event, "why")
        if entry.state is State.READY and event is not Event.UNLOAD:
            assert after.state is State.READY
        entry = after


def test_every_state_is_reached_and_left() -> None:
    """The table has no dead end."""
    assert {state for state, _ in STEPS} == set(State) == set(STEPS.values())


def test_a_failed_reload_is_told_beside_what_serves() -> None:
    """READY, with the reason why it is not the new one; the server stays ready."""
    index = Index()
    index.loading("m")
    index.loaded("m", ["1"])
    index.loading("m")
    index.failed("m", "no model")
    assert index.entries("m") == [Entry("1", State.READY, "no model")]
    assert index.failures() == []


def test_a_model_that_never_loaded_is_unavailable() -> None:
    """And the server is not ready, until somebody says that it is not wanted."""
    index = Index()
    index.loading("m")
    assert [entry.state for entry in index.entries("m")] == [State.LOADING]
    index.failed("m", "no model")
    assert index.entries("m") == [Entry("", State.UNAVAILABLE, "no model")]
    assert index.failures() == ["m"]
    index.unloading("m")
    assert index.failures() == []


def test_a_replaced_version_drains_and_is_unloaded() -> None:
    """Both are listed: the new one READY, the old one on its way out."""
    index = Index()
    index.loaded("m", ["1"])
    index.loading("m")
    index.loaded("m", ["2"])
    assert index.entries("m") == [Entry("1", State.UNLOADING), Entry("2", State.READY)]
    index.drained("m", "1")
    assert index.entries("m") == [Entry("1", State.UNAVAILABLE, "unloaded"), Entry("2", State.READY)]
    assert index.state("m") is State.READY
