"""Regions of shared memory that tenants registered, and the bytes in them.

Blocks; not for the event loop. A registration is a file in a directory that the
replicas of a mesh share, so each of them knows it at once and a replica that
starts again still does. Nothing is kept open and nothing is mapped: a region is
opened, checked, and copied from or into at each use. Whoever shortens the object
meanwhile gets an error then, where a mapping would end this process (SIGBUS), and
what was checked is a copy that nobody else can change.
"""

import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import msgspec

from headrace.inference.core.memory import Region, Use, file_name, name_problem, region_problem, use_problem

SHM = Path("/dev/shm")  # noqa: S108  # where POSIX shared memory is on Linux
MAX_REGIONS = 1024
MAX_REGIONS_OF_TENANT = 64
ENDING = ".json"


class RegionProblem(Exception):
    """What is wrong with a region or its use; `field` is the one of Triton's messages that is, `tensor` whose."""

    def __init__(self, field: str, problem: str, tensor: str = "") -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        self.tensor = tensor


class RegionExists(Exception):
    """The tenant has registered this name already."""


class TooManyRegions(Exception):
    """As many are registered as may be; `most` of them."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


class Entry(msgspec.Struct, frozen=True):
    """A registration."""

    tenant: str
    name: str
    region: Region


class Regions:
    """The registrations in `folder`, of objects in `shm`."""

    def __init__(self, folder: Path, shm: Path = SHM) -> None:
        self._folder = folder
        self._shm = shm

    def register(self, tenant: str, name: str, region: Region) -> None:
        """Raises RegionProblem, RegionExists, TooManyRegions; then nothing is registered."""
        problem = name_problem(name)
        if problem:
            raise RegionProblem("name", problem)
        with self._locked():
            entries = list(self._entries())
            own = [entry for entry in entries if entry.tenant == tenant]
            if any(entry.name == name for entry in own):
                raise RegionExists
            if len(own) >= MAX_REGIONS_OF_TENANT or len(entries) >= MAX_REGIONS:
                raise TooManyRegions(min(MAX_REGIONS_OF_TENANT, MAX_REGIONS))
            self._check_owner(tenant, region, entries)
            with self._opened(region):
                pass  # it is there, and as large as it has to be
            self._write(Entry(tenant, name, region))

    def unregister(self, tenant: str, name: str = "") -> None:
        """Forgets a tenant's region, all of its regions for no name; one that is not there is no mistake."""
        with self._locked():
            for entry in self._entries():
                if entry.tenant == tenant and name in ("", entry.name):
                    self._file(tenant, entry.name).unlink(missing_ok=True)

    def of(self, tenant: str) -> dict[str, Region]:
        """A tenant's regions by name."""
        return {entry.name: entry.region for entry in self._entries() if entry.tenant == tenant}

    def check(self, tenant: str, uses: Sequence[Use]) -> None:
        """Raises RegionProblem for the first that can't be used now."""
        for use in uses:
            with self._used(tenant, use):
                pass

    def read(self, tenant: str, uses: Sequence[Use]) -> list[bytes]:
        """The bytes of each; raises RegionProblem."""
        return [self._read(tenant, use) for use in uses]

    def write(self, tenant: str, values: Sequence[tuple[Use, bytes | memoryview]]) -> None:
        """Writes each value to the begin of its use; raises RegionProblem before anything is written."""
        for use, value in values:
            if len(value) > use.byte_size:
                problem = f"expected at least {len(value)}, got {use.byte_size}"
                raise RegionProblem("byte_size", problem, use.field)
        self.check(tenant, [use for use, _ in values])
        for use, value in values:
            with self._used(tenant, use) as (descriptor, position):
                _write(descriptor, value, position)

    def _read(self, tenant: str, use: Use) -> bytes:
        with self._used(tenant, use) as (descriptor, position):
            found = os.pread(descriptor, use.byte_size, position)
        if len(found) != use.byte_size:
            raise RegionProblem("byte_size", "the region has become smaller")
        return found

    @contextmanager
    def _used(self, tenant: str, use: Use) -> Iterator[tuple[int, int]]:
        """The open object, and where in it the use begins."""
        try:
            region = self._find(tenant, use.region)
            problem = use_problem(use, region)
            if problem:
                raise RegionProblem("byte_size", problem)
            with self._opened(region) as descriptor:
                yield descriptor, region.offset + use.offset
        except RegionProblem as error:
            error.tensor = use.field
            raise

    def _find(self, tenant: str, name: str) -> Region:
        try:
            entry = msgspec.json.decode(self._file(tenant, name).read_bytes(), type=Entry)
        except FileNotFoundError:
            raise RegionProblem("region", "no such region is registered") from None
        return entry.region

    @contextmanager
    def _opened(self, region: Region) -> Iterator[int]:
        """The object, if it is a file of ours alone that the region lies in; raises RegionProblem."""
        name = file_name(region.key)
        if not name:
            raise RegionProblem("key", "expected a name without a path, as /name")
        try:
            # O_NONBLOCK: a pipe would have us wait for its other end.
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(self._shm / name, flags)
        except OSError:
            raise RegionProblem("key", "there is no such shared memory") from None
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
                raise RegionProblem("key", "there is no such shared memory")
            problem = region_problem(region, found.st_size)
            if problem:
                raise RegionProblem("byte_size", problem)
            yield descriptor
        finally:
            os.close(descriptor)

    def _check_owner(self, tenant: str, region: Region, entries: Sequence[Entry]) -> None:
        """Memory that one tenant has registered is no other's to read."""
        name = file_name(region.key)
        if any(entry.tenant != tenant and file_name(entry.region.key) == name for entry in entries):
            raise RegionProblem("key", "is another tenant's")

    def _entries(self) -> Iterator[Entry]:
        for file in self._folder.glob(f"*{ENDING}"):
            try:
                yield msgspec.json.decode(file.read_bytes(), type=Entry)
            except FileNotFoundError:
                continue  # unregistered meanwhile

    def _file(self, tenant: str, name: str) -> Path:
        # A caller's words make no path.
        digest = sha256(msgspec.json.encode((tenant, name))).hexdigest()
        return self._folder / (digest + ENDING)

    def _write(self, entry: Entry) -> None:
        path = self._file(entry.tenant, entry.name)
        beside = path.with_suffix(".new")
        beside.write_bytes(msgspec.json.encode(entry))
        beside.replace(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _write(descriptor: int, value: bytes | memoryview, position: int) -> None:
    try:
        written = os.pwrite(descriptor, value, position)
    except OSError:  # an object is as long as it says, but its pages come when they are written
        written = 0
    if written != len(value):
        raise RegionProblem("byte_size", "there is no memory left for it")
