"""What the fork server imports: all that services import, as far as it starts no thread.

A thread is lost by a fork, and whatever it held stays held.
"""

import gc
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

SERVICES = tuple(
    f"headrace.{service}.{module}"
    for service in ("insight", "scaling", "guard", "cache", "metering", "inference")
    for module in ("settings", "app")
)
EVERYTHING = (*SERVICES, "runpy")


def preload(modules: Iterable[str] = EVERYTHING) -> None:
    """Imports the modules; exits with a reason if that started a thread."""
    # Nothing of what is imported is garbage, and a frozen page stays shared for longer.
    gc.disable()
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:  # the service that needs it says so itself, in its own log
            print(f"fork server: {module} can't be imported: {error}", file=sys.stderr)
    gc.freeze()
    gc.enable()
    if (threads := len(list(Path("/proc/self/task").iterdir()))) != 1:
        sys.exit(f"fork server: {threads} threads after importing, so that it can't fork")
