"""The bare ONNX Runtime floor: an encoder's sequences per second with nothing around it.

    python -m bench.floors.bare_onnx MODEL.onnx [--layout 2x1 --batch 16] [--seconds S]

Two layouts are tried over batches of 1 to 32 rows of 32 tokens: one session
with two threads, and two sessions of one thread each, side by side. With
`--layout` and `--batch` only that one runs. Prints a JSON list, one object
for each run. Sessions don't spin: on shared cores spinning steals from all.
"""

import argparse
import json
import sys
import threading
import time
from dataclasses import asdict, dataclass

import numpy as np
import onnxruntime as ort

TOKENS = 32
LAYOUTS = {"1x2": (1, 2), "2x1": (2, 1)}  # sessions x threads of each
BATCHES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Run:
    """One layout at one batch size."""

    layout: str
    batch: int
    rows_per_s: float


def session(model: str, threads: int) -> ort.InferenceSession:
    """A CPU session that doesn't spin."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def rows_per_s(sessions: list[ort.InferenceSession], batch: int, seconds: float) -> float:
    """Every session runs batches in a thread of its own for `seconds`; their sum."""
    ids = np.random.default_rng(0).integers(1000, 20000, (batch, TOKENS), dtype=np.int64)
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    counts = [0] * len(sessions)
    start = time.perf_counter()

    def work(index: int) -> None:
        while time.perf_counter() < start + seconds:
            sessions[index].run(None, feed)
            counts[index] += batch

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(sessions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def main(arguments: list[str]) -> None:
    """Runs what the arguments ask for; see the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--layout", choices=LAYOUTS)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args(arguments)
    runs = []
    for layout in [options.layout] if options.layout else LAYOUTS:
        count, threads = LAYOUTS[layout]
        sessions = [session(options.model, threads) for _ in range(count)]
        rows_per_s(sessions, 1, 0.2)  # the first calls allocate
        runs += [
            Run(layout, batch, rows_per_s(sessions, batch, options.seconds))
            for batch in ([options.batch] if options.batch else BATCHES)
        ]
    print(json.dumps([asdict(run) for run in runs]))


if __name__ == "__main__":
    main(sys.argv[1:])
