"""The demo models: built once from code and from model wheels, into a repository in Triton's layout.

Nothing is downloaded here; the wheels come from `models.txt`, and a missing one
costs only the models that need it.
"""

from headrace.inference.demo.layout import Layout, lay_out
from headrace.inference.demo.wheels import (
    INSTALL_COMMAND,
    Wheel,
    WheelFinder,
    installed_wheel,
    missing_wheels,
)

__all__ = [
    "INSTALL_COMMAND",
    "Layout",
    "Wheel",
    "WheelFinder",
    "installed_wheel",
    "lay_out",
    "missing_wheels",
]
