"""Puts shared memory around the service, where the settings allow it, and nothing where they don't."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from headrace.inference.memory_control import MemoryControl, NoMemory, TenantsMemory
from headrace.inference.models import Models
from headrace.inference.regions import Regions
from headrace.inference.settings import InferenceSettings
from headrace.inference.shared_memory import Inferring, SharedMemory

EXTENSION = "system_shared_memory"


@dataclass(frozen=True, slots=True)
class Sharing:
    """What answers requests, what registers regions, and Triton's names of the extensions that come with it."""

    service: Inferring
    memory: MemoryControl
    extensions: tuple[str, ...] = ()


@contextmanager
def sharing(settings: InferenceSettings, service: Inferring, models: Models) -> Iterator[Sharing]:
    """Registrations are all replicas', where those share a directory; else they end with this one."""
    if not settings.shared_memory:
        yield Sharing(service, NoMemory())
        return
    with _folder(settings.repository.shared) as folder:
        regions = Regions(folder)
        resolving = SharedMemory(
            service,
            models,
            regions,
            max_request_bytes=settings.max_message_bytes,
            max_bytes=settings.max_buffered_bytes,
        )
        yield Sharing(resolving, TenantsMemory(regions), (EXTENSION,))


@contextmanager
def _folder(shared: Path | None) -> Iterator[Path]:
    if shared is not None:
        yield shared / "memory"
        return
    with TemporaryDirectory(prefix="headrace-memory-") as name:
        yield Path(name)
