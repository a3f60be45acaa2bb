"""`python -m headrace.scaling`"""

from headrace.runtime.lifecycle import run
from headrace.scaling.app import build
from headrace.scaling.settings import Settings

if __name__ == "__main__":
    run("scaling", Settings.read, build)
