"""A replica's models from its start to its end, by the mode of its settings."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from headrace.inference.assembly import Surroundings
from headrace.inference.control import ModelControl, controlling
from headrace.inference.core.polling import Polling
from headrace.inference.digests import FileDigests
from headrace.inference.folders import Repository
from headrace.inference.loader import Loader
from headrace.inference.polling import fingerprints, load_quietly, poll
from headrace.inference.settings import EXPLICIT, POLL, ModelOverride, RepositorySettings
from headrace.runtime.loops import looping

EVERY = "*"


@asynccontextmanager
async def serving_models(
    settings: RepositorySettings, overrides: Mapping[str, ModelOverride], around: Surroundings
) -> AsyncIterator[ModelControl]:
    """Serves the models that are to be loaded at the start, until exit.

    A model that does not load leaves the others alone and is told of by the
    index and the log.
    """
    repository = Repository(settings.root, settings.max_version_bytes)
    async with AsyncExitStack() as stack:
        loader = Loader(repository, overrides, FileDigests(settings.digests))
        control = await stack.enter_async_context(controlling(loader, around))
        seen = await asyncio.to_thread(fingerprints, repository) if settings.mode == POLL else {}
        for name in await asyncio.to_thread(_first, settings, repository):
            await load_quietly(control, name)
        if settings.mode == POLL:
            await stack.enter_async_context(looping(poll(control, Polling(seen), settings.poll_s)))
        yield control


def _first(settings: RepositorySettings, repository: Repository) -> list[str]:
    """What is loaded at the start."""
    if settings.mode != EXPLICIT or EVERY in settings.load:
        return repository.names()
    return sorted(set(settings.load))
