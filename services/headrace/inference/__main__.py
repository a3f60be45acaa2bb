"""`python -m headrace.inference`: one replica."""

from headrace.inference.app import build
from headrace.inference.settings import InferenceSettings
from headrace.runtime.lifecycle import run

if __name__ == "__main__":
    run("inference", InferenceSettings.read, build)
