"""`@cached(...)`: an async function whose results are answers, kept like any other."""

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, Protocol, TypeVar

from headrace.cache.core.keys import AnswerKeys

P = ParamSpec("P")
T = TypeVar("T")


class Finding(Protocol):
    """Where answers are looked for before they are computed."""

    def near(self, key: bytes) -> bytes | None: ...

    async def find(
        self,
        key: bytes,
        tenant: str,
        model: str,
        compute: Callable[[], Awaitable[tuple[bytes, object]]],
    ) -> Any: ...


def cached(
    answers: Finding,
    keys: AnswerKeys,
    *,
    operation: str,
    version: str,
    tenant: str,
    encode: Callable[[T], bytes],
    decode: Callable[[bytes], T],
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Keeps the function's results by `operation`, `version`, `tenant` and all its arguments, defaults included.

    Arguments are scalars, bytes, None, and sequences and mappings of them;
    others raise TypeError, since nothing says that two of them are the same.
    `encode` and `decode` turn a result into bytes and back; every result is
    kept, an empty or false one too. Errors are not. Never use pickle to decode:
    reading one runs what it holds.
    """

    def wrap(function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        names = signature(function)

        @wraps(function)
        async def asked(*args: P.args, **kwargs: P.kwargs) -> T:
            bound = names.bind(*args, **kwargs)
            bound.apply_defaults()
            key = keys.call_key(operation, version, tenant, bound.arguments)

            async def compute() -> tuple[bytes, object]:
                return encode(await function(*args, **kwargs)), None

            near = answers.near(key)
            if near is not None:
                return decode(near)
            return decode((await answers.find(key, tenant, operation, compute)).value)

        return asked

    return wrap
