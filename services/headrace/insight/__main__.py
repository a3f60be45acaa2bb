"""`python -m headrace.insight`"""

from headrace.insight.app import build
from headrace.insight.settings import Settings
from headrace.runtime.lifecycle import run

if __name__ == "__main__":
    run("insight", Settings.read, build)
