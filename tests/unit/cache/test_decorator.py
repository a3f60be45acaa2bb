"""`@cached`: a function's results by all of its arguments, whatever they are."""

import json
from typing import Any

import pytest

from headrace.cache.client import AnswerKeys, cached
from tests.fakes.cache import SECRET, FakeAnswers


class Counted:
    """A function that counts how often it worked."""

    def __init__(self, result: Any = None) -> None:
        self.calls = 0
        self.result = result

    async def __call__(self, text: str, limit: int = 3, *, flags: tuple[bool, ...] = ()) -> Any:
        """What is cached."""
        self.calls += 1
        return self.result


def kept(function: Counted, answers: FakeAnswers | None = None, **named: str) -> Any:
    names = {"operation": "f", "version": "1", "tenant": "acme", **named}
    wrap = cached(
        answers or FakeAnswers(),
        AnswerKeys(SECRET),
        encode=lambda result: json.dumps(result).encode(),
        decode=json.loads,
        **names,
    )
    return wrap(function.__call__)


@pytest.mark.parametrize("result", [None, "", 0, False, [], "text", {"a": [1]}])
async def test_every_result_is_kept(result: Any) -> None:
    """Also one that is empty or false: it is no miss."""
    function = Counted(result)
    ask = kept(function)
    assert [await ask("a"), await ask("a")] == [result, result]
    assert function.calls == 1


async def test_a_call_is_the_same_however_it_is_written() -> None:
    """By position, by name, with or without a default."""
    function = Counted()
    ask = kept(function)
    await ask("a")
    await ask(text="a")
    await ask("a", 3)
    await ask("a", limit=3, flags=())
    assert function.calls == 1


async def test_every_argument_counts() -> None:
    """One that differs is another call, in its type too."""
    function = Counted()
    ask = kept(function)
    for arguments in (("a",), ("b",), ("a", 4), ("a", 4.0), ("a", True)):
        await ask(*arguments)
    await ask("a", flags=(True,))
    assert function.calls == 6


@pytest.mark.parametrize("other", [{"operation": "g"}, {"version": "2"}, {"tenant": "globex"}])
async def test_operation_version_and_tenant_count(other: dict[str, str]) -> None:
    """Nobody gets a result of another function, an older version, or somebody else."""
    function, answers = Counted(), FakeAnswers()
    await kept(function, answers)("a")
    await kept(function, answers, **other)("a")
    assert function.calls == 2


async def test_a_failure_is_not_kept() -> None:
    """The next call works again."""

    class Failing(Counted):
        async def __call__(self, text: str, limit: int = 3, *, flags: tuple[bool, ...] = ()) -> Any:
            await super().__call__(text)
            if self.calls == 1:
                raise RuntimeError("once")
            return "then"

    function = Failing()
    ask = kept(function)
    with pytest.raises(RuntimeError, match="once"):
        await ask("a")
    assert await ask("a") == "then"


async def test_an_argument_without_one_form_is_refused() -> None:
    """Nothing says when two of them are the same."""
    with pytest.raises(TypeError):
        await kept(Counted())(object())
