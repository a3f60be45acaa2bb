"""Mode `poll`: looks at the repository every so often, and loads what has changed."""

import asyncio

import structlog

from headrace.inference.control import ModelControl
from headrace.inference.core.polling import Fingerprint, Polling
from headrace.inference.folders import Repository, RepositoryError
from headrace.runtime.errors import HeadraceError

log = structlog.get_logger(__name__)

UNREADABLE: Fingerprint = (("", 0, 0),)


def fingerprints(repository: Repository) -> dict[str, Fingerprint]:
    """Of every model there is; one that can't be read has a fingerprint too, so that its load tells why."""
    return {name: _fingerprint(repository, name) for name in repository.names()}


async def poll(control: ModelControl, polling: Polling, interval_s: float) -> None:
    """Until cancelled. A load that fails is told in the index, and tried again when the files change."""
    while True:
        await asyncio.sleep(interval_s)
        changes = polling.look(await asyncio.to_thread(fingerprints, control.repository))
        for name in changes.gone:
            await control.forget(name)
        for name in changes.load:
            await load_quietly(control, name)


async def load_quietly(control: ModelControl, name: str) -> None:
    """Loads a model that nobody waits for."""
    try:
        await control.load(name)
    except HeadraceError as error:
        log.warning("model does not serve as its files say", model=name, reason=error.reason)


def _fingerprint(repository: Repository, name: str) -> Fingerprint:
    try:
        return repository.fingerprint(name)
    except (RepositoryError, OSError):
        return UNREADABLE
