"""Benchmarks that print figures against frozen floors; `python -m bench`."""

import os

# As in the services (headrace.inference.backends): the floors' ONNX Runtime does without what ours does without.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
