"""A service process from its first line to its last: settings, loop, signals."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NoReturn, TypeVar

import structlog
import uvloop
from prometheus_client import CollectorRegistry, start_http_server

from headrace.runtime.grpc_core import settle
from headrace.runtime.server import ListenError
from headrace.runtime.settings import SettingsError
from headrace.runtime.start import StartFailed

S = TypeVar("S")
E = TypeVar("E", bound=BaseException)

GC_ALLOCATIONS = 20_000


def run(
    service: str,
    read: Callable[[Mapping[str, str]], S],
    build: Callable[[S], AbstractAsyncContextManager[object]],
) -> NoReturn:
    """Runs a service until SIGTERM or SIGINT; a second signal ends it at once.

    Exit codes: 0 stopped on request, 1 failed, 2 settings that can't be used
    (each mistake is a line on stderr).
    """
    log_as_json(service)
    settle(os.environ)
    try:
        # A file that a setting names is read by `build`.
        uvloop.run(_until_stopped(build(read(os.environ))))
    except* SettingsError as errors:
        sys.exit(_told([problem for error in _each(errors) for problem in error.problems], 2))
    except* StartFailed as errors:
        sys.exit(_told([str(error) for error in _each(errors)], 1))
    sys.exit(0)


async def _until_stopped(service: AbstractAsyncContextManager[object]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopped.is_set():
            os._exit(1)
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with service:
        # What a start leaves behind lives as long as the process: the collector
        # need not look at it again at every few hundred allocations (4 % of the hot path).
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_ALLOCATIONS, 20, 20)
        await stopped.wait()


def _each(group: BaseExceptionGroup[E]) -> Iterator[E]:
    """What it holds, however many task groups wrapped it."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _each(error)
        else:
            yield error


def _told(problems: list[str], code: int) -> int:
    for problem in problems:
        print(problem, file=sys.stderr)
    return code


def log_as_json(service: str) -> None:
    """Logs as JSON lines on stderr. Never log payloads, tokens or keys."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Without locals: they hold tensors and tokens.
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.EventRenamer("message"),
            lambda _, __, event: {"service": service, **event},
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


@asynccontextmanager
async def metrics_endpoint(listen: str, registry: CollectorRegistry) -> AsyncIterator[None]:
    """Serves `/metrics` on `host:port`, from a thread of its own; empty: nowhere."""
    if not listen:
        yield
        return
    host, _, port = listen.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host, registry)
    except OSError as error:
        raise ListenError(f"can't serve metrics on {listen}: {error.strerror}") from None
    try:
        yield
    finally:
        # Up to half a second: meanwhile the loop goes on finishing calls.
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(thread.join)
