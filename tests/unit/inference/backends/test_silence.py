"""ONNX Runtime, as it is imported here, tells nobody anything."""

import os
import subprocess
import sys
from pathlib import Path

SERVICES = Path(__file__).resolve().parents[4] / "services"
CODE = "from headrace.inference.backends import onnx; import os; print(len(os.listdir('/proc/self/task')))"
CI = {"CI", "GITHUB_ACTIONS", "TF_BUILD", "GITLAB_CI", "JENKINS_URL", "BUILD_ID"}
"""Where one of these is set it is silent anyway."""


def imported(home: Path, **environ: str) -> int:
    """How many threads there are after ONNX Runtime was imported."""
    kept = {name: value for name, value in os.environ.items() if name not in {*CI, "ORT_DISABLE_TELEMETRY"}}
    own = {"HOME": str(home), "PYTHONPATH": str(SERVICES), "OPENBLAS_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**kept, **own, **environ},
        capture_output=True,
        check=True,
        timeout=60,
    )
    return int(ended.stdout)


def test_it_starts_no_thread_that_would_tell_and_writes_no_identifier(tmp_path: Path) -> None:
    """Nothing in the home directory, whatever the environment says; nor a thread, so that what imported it can be forked."""
    assert imported(tmp_path) == 1
    assert imported(tmp_path, ORT_DISABLE_TELEMETRY="0") == 1
    assert list(tmp_path.iterdir()) == []
