"""The floor of mixed lengths: batches in the order of arrival, each padded to its longest row.

    python -m bench.floors.padded MODEL.onnx LENGTHS.json [--batch 16]

LENGTHS holds how many tokens each row has, in order of arrival. The rows are cut
into batches of one size, padded, masked and executed by two sessions of one
thread each, side by side, with nothing around them. Without `--batch` the sizes
8, 16 and 32 are tried. Prints a JSON list, one object for each run.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from bench.floors.bare_onnx import rows_per_s, session

SESSIONS = 2
BATCHES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Run:
    """One batch size. `waste` is the share of executed tokens that were padding."""

    batch: int
    rows_per_s: float
    waste: float


def feeds(lengths: Sequence[int], batch: int) -> list[dict[str, np.ndarray]]:
    """The batches, ready to execute."""
    draw = np.random.default_rng(0)
    made = []
    for first in range(0, len(lengths), batch):
        part = lengths[first : first + batch]
        mask = (np.arange(max(part)) < np.array(part)[:, None]).astype(np.int64)
        ids = draw.integers(1000, 20000, mask.shape, dtype=np.int64) * mask
        made.append({"input_ids": ids, "attention_mask": mask})
    return made


def run(sessions: Sequence[ort.InferenceSession], lengths: Sequence[int], batch: int) -> Run:
    """Executes all rows once; a session takes the next batch when it is free."""
    batches = feeds(lengths, batch)
    waste = 1 - sum(lengths) / sum(feed["input_ids"].size for feed in batches)
    rest = iter(batches)
    start = time.perf_counter()

    def work(alone: ort.InferenceSession) -> None:
        for feed in rest:  # the interpreter lock makes taking one from a list's iterator atomic
            alone.run(None, feed)

    threads = [threading.Thread(target=work, args=(alone,)) for alone in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Run(batch, len(lengths) / (time.perf_counter() - start), waste)


def main(arguments: list[str]) -> None:
    """Runs what the arguments ask for; see the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("lengths", type=Path)
    parser.add_argument("--batch", type=int)
    options = parser.parse_args(arguments)
    sessions = [session(options.model, 1) for _ in range(SESSIONS)]
    rows_per_s(sessions, 1, 0.2)  # the first calls allocate
    lengths = json.loads(options.lengths.read_text())
    sizes = [options.batch] if options.batch else BATCHES
    print(json.dumps([asdict(run(sessions, lengths, batch)) for batch in sizes]))


if __name__ == "__main__":
    main(sys.argv[1:])
