"""Tests, which mirror the code's tree, and what they share."""

import os

# As in the services (headrace.inference.backends): some tests import ONNX Runtime before those do.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
