"""The rules of CONTRIBUTING that no linter knows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST_FILE = 300


def sources(*folders: str) -> list[Path]:
    """Every hand-written Python file of the folders."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if "_pb2" not in path.name)


def cases_in(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The test functions and methods of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def test_each_test_states_its_fact() -> None:
    """A test's docstring says what holds when it passes."""
    silent = [
        f"{path.relative_to(ROOT)}:{test.lineno} {test.name}"
        for path in sources("tests")
        for test in cases_in(path)
        if not ast.get_docstring(test)
    ]
    assert not silent


def test_files_hold_one_idea() -> None:
    """No hand-written file has more than 300 lines."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources("services", "tests", "bench", "tools")
        if (lines := len(path.read_text().splitlines())) > LONGEST_FILE
    }
    assert not long


@pytest.mark.parametrize(
    "pattern", [r"sleep\((?!0\))", r"\bmonkeypatch\b", r"mock\.patch", r"unittest\.mock"]
)
def test_unit_tests_neither_wait_nor_patch(pattern: str) -> None:
    """Time and collaborators are arguments: a unit test never waits (sleep(0) yields) and replaces no internals."""
    found = re.compile(pattern)
    assert not [
        str(path.relative_to(ROOT)) for path in sources("tests/unit") if found.search(path.read_text())
    ]
