"""The bare call floor: what one call of a model costs in process, without any server.

    python -m bench.floors.bare_call MODEL.onnx INPUT WIDTH

Calls a session of one thread with one row, 20,000 times, and prints the
median and the 99th percentile in microseconds as JSON.
"""

import json
import sys
import time

import numpy as np

from bench.floors.bare_onnx import session

CALLS = 20_000


def main(model: str, name: str, width: str) -> None:
    """Measures and prints; see the module."""
    run = session(model, 1).run
    feed = {name: np.linspace(-1, 1, int(width), dtype=np.float32).reshape(1, -1)}
    times = np.empty(CALLS)
    for index in range(CALLS):
        start = time.perf_counter()
        run(None, feed)
        times[index] = time.perf_counter() - start
    p50, p99 = np.percentile(times, [50, 99]) * 1e6
    print(json.dumps({"p50_us": p50, "p99_us": p99}))


if __name__ == "__main__":
    main(*sys.argv[1:])
