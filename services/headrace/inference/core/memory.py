"""Regions of shared memory: what may be registered, and what of a region a tensor may use."""

import re
from dataclasses import dataclass

import msgspec

REGION = "shared_memory_region"
"""The parameter of a tensor that lies in shared memory instead of the message."""
BYTE_SIZE, OFFSET = "shared_memory_byte_size", "shared_memory_offset"

MAX_NAME = 256
"""Characters of a region's name."""

KEY = re.compile(r"/?([A-Za-z0-9_.-]{1,200})")
"""What POSIX takes for a shared memory object: a slash, and a name without one."""


class Region(msgspec.Struct, frozen=True):
    """`byte_size` bytes from `offset` on of the shared memory object `key`."""

    key: str
    offset: int
    byte_size: int


@dataclass(frozen=True, slots=True)
class Use:
    """A tensor's `byte_size` bytes from `offset` on of a region; `field` is the tensor in its request."""

    region: str
    offset: int
    byte_size: int
    field: str

    def told(self, byte_size: int) -> dict[str, str | int]:
        """The parameters of an output that was put there, of this size."""
        parameters: dict[str, str | int] = {REGION: self.region, BYTE_SIZE: byte_size}
        return {**parameters, OFFSET: self.offset} if self.offset else parameters


def file_name(key: str) -> str:
    """The object's file, a name without a path; empty for a key that is none."""
    found = KEY.fullmatch(key)
    name = found.group(1) if found else ""
    return "" if name in (".", "..") else name


def name_problem(name: str) -> str:
    """What is wrong with a region's name; empty when nothing is."""
    if 1 <= len(name) <= MAX_NAME:
        return ""
    return f"expected a name of 1 to {MAX_NAME} characters"


def region_problem(region: Region, file_bytes: int) -> str:
    """What is wrong with a region of a file of this size; empty when nothing is."""
    if region.byte_size < 1:
        return "expected at least 1 byte"
    if region.offset < 0 or region.offset + region.byte_size > file_bytes:
        return f"{region.byte_size} bytes from {region.offset} on are not in the {file_bytes} there are"
    return ""


def use_problem(use: Use, region: Region) -> str:
    """What is wrong with a tensor's part of a region; empty when nothing is."""
    if use.offset < 0 or use.byte_size < 0 or use.offset + use.byte_size > region.byte_size:
        return f"{use.byte_size} bytes from {use.offset} on are not in the region's {region.byte_size}"
    return ""
