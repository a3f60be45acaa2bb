"""Load by h2load: a C generator that costs little of the cores it shares.

It sends one payload over and over, so it serves models that aren't cached;
`streams.py` sends distinct ones. h2load counts HTTP 200s and a gRPC failure is
one too: who calls this counts `grpc-status` at the gateway (`counts.py`).
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from bench.target import MODEL_INFER, Sample, Target

HOW_TO_GET = "apt install nghttp2-client"
TIMEOUT_S = 60


class LoadFailed(Exception):
    """The generator couldn't send everything; the run is void."""


def available() -> bool:
    """Whether h2load is installed."""
    return shutil.which("h2load") is not None


def run(
    target: Target, frame: bytes, *, requests: int, connections: int, streams: int, answer_bytes: int = 0
) -> Sample:
    """Sends `requests` times the frame, `connections` x `streams` in flight.

    With `answer_bytes`, what came back must be as many messages of that length: for a server whose
    `grpc-status` nobody counts. A refusal has no message.
    """
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder, "frame"), Path(folder, "log")
        body.write_bytes(frame)
        command = ["h2load", f"-n{requests}", f"-c{connections}", f"-m{streams}", "-t1", f"-d{body}"]
        command += [f"--log-file={log}", "-H", "content-type: application/grpc", "-H", "te: trailers"]
        command += [
            "-H",
            f"authorization: Bearer {target.token}",
            f"http://127.0.0.1:{target.port}{MODEL_INFER}",
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:  # its text holds the token
            raise LoadFailed(f"{target.name}: {requests} requests not answered in {TIMEOUT_S} s") from None
        _check(done.stdout or done.stderr, requests)
        if answer_bytes:
            _check_data(done.stdout, requests * answer_bytes)
        return _sample(log, requests)


def _check(report: str, requests: int) -> None:
    if not re.search(rf"\b{requests} succeeded, 0 failed, 0 errored", report):
        raise LoadFailed(next((line for line in report.splitlines() if line.startswith("requests:")), report))


def _check_data(report: str, expected: int) -> None:
    found = re.search(r"\((\d+)\) data", report)
    if found is None or int(found[1]) != expected:
        raise LoadFailed(f"{expected} bytes of messages were to come back, not {found and found[1]}")


def _sample(log: Path, requests: int) -> Sample:
    """From h2load's log: start (us since 1970), HTTP status, duration (us). The rate that h2load prints includes connecting."""
    rows = np.loadtxt(log, dtype=np.int64, ndmin=2)
    ends = rows[:, 0] + rows[:, 2]
    p50, p99 = np.percentile(rows[:, 2], [50, 99])
    return Sample(requests, float(ends.max() - rows[:, 0].min()) / 1e6, float(p50), float(p99))
