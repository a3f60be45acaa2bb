"""`python -m headrace.cache`"""

from headrace.cache.app import build
from headrace.cache.settings import Settings
from headrace.runtime.lifecycle import run

if __name__ == "__main__":
    run("cache", Settings.read, build)
