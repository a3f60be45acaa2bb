"""What callers may have registered of their shared memory, and who may: nobody, unless the settings allow it."""

import asyncio
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import unquote

from headrace.inference import control_errors
from headrace.inference.core.memory import Region
from headrace.inference.regions import RegionExists, RegionProblem, Regions, TooManyRegions
from headrace.runtime.rpc import Call

KIND = "system"
PEER_HEADER = "x-headrace-peer"
"""The client's address, as the gateway says on its sockets; what clients send by this name it removes."""


class MemoryControl(Protocol):
    """Regions of system shared memory, of the caller's tenant."""

    async def regions(self, call: Call, name: str) -> Mapping[str, Region]:
        """Those that are registered, by name; raises REGION_NOT_FOUND where `name` is not one."""
        ...

    async def register(self, call: Call, name: str, region: Region) -> None:
        """Registers one for every replica.

        Raises SHARED_MEMORY_OFF, SHARED_MEMORY_REMOTE, REGION_INVALID, REGION_EXISTS, REGIONS_FULL.
        """
        ...

    async def unregister(self, call: Call, name: str) -> None:
        """Forgets one, all for no name."""
        ...


class NoMemory:
    """Memory is not shared."""

    async def regions(self, call: Call, name: str) -> Mapping[str, Region]:  # noqa: ARG002  # it is nobody's
        """None."""
        if name:
            raise control_errors.region_not_found(KIND, name)
        return {}

    async def register(self, call: Call, name: str, region: Region) -> None:  # noqa: ARG002  # nor anything
        """Raises SHARED_MEMORY_OFF."""
        raise control_errors.shared_memory_off(name)

    async def unregister(self, call: Call, name: str) -> None:
        """There is nothing to forget."""


class TenantsMemory:
    """Memory is shared with callers on this machine."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions

    async def regions(self, call: Call, name: str) -> Mapping[str, Region]:
        """See `MemoryControl`."""
        found = await asyncio.to_thread(self._regions.of, call.caller.tenant)
        if not name:
            return found
        if name not in found:
            raise control_errors.region_not_found(KIND, name)
        return {name: found[name]}

    async def register(self, call: Call, name: str, region: Region) -> None:
        """See `MemoryControl`."""
        if not is_local(call):
            raise control_errors.shared_memory_remote()
        try:
            await asyncio.to_thread(self._regions.register, call.caller.tenant, name, region)
        except RegionProblem as problem:
            raise control_errors.region_invalid(problem.field, problem.problem) from None
        except RegionExists:
            raise control_errors.region_exists(name) from None
        except TooManyRegions as error:
            raise control_errors.regions_full(error.most) from None

    async def unregister(self, call: Call, name: str) -> None:
        """See `MemoryControl`."""
        await asyncio.to_thread(self._regions.unregister, call.caller.tenant, name)


def is_local(call: Call) -> bool:
    """Whether the client's own connection, to the gateway or to this process, comes from this machine."""
    behind_gateway = call.transport == "h1" or call.peer.startswith("unix:")
    return is_loopback(str(call.metadata.get(PEER_HEADER, "")) if behind_gateway else _host(call.peer))


def is_loopback(address: str) -> bool:
    """Whether it is an address of this machine for itself; no address is none."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _host(peer: str) -> str:
    """The address in gRPC's form of a peer, `ipv4:127.0.0.1:5` or `ipv6:%5B::1%5D:5`."""
    return unquote(peer.partition(":")[2]).rpartition(":")[0].strip("[]")
