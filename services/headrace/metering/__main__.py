"""`python -m headrace.metering`"""

from headrace.metering.app import build
from headrace.metering.settings import Settings
from headrace.runtime.lifecycle import run

if __name__ == "__main__":
    run("metering", Settings.read, build)
