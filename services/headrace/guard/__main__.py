"""`python -m headrace.guard`: one guard, set by `HEADRACE_GUARD_*`."""

from headrace.guard.app import build
from headrace.guard.settings import Settings
from headrace.runtime.lifecycle import run

if __name__ == "__main__":
    run("guard", Settings.read, build)
