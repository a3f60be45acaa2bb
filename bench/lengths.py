"""The figure of mixed lengths: texts of 8 to 256 tokens, most of them short, over padding them in order of arrival."""

import itertools
import json
from pathlib import Path

from bench.calls import check_minilm
from bench.figures import Figure, interleaved_ratio, spread
from bench.frames import texts, zipf_lengths
from bench.measure import Effort, distinct, interleaved
from bench.mesh import Mesh
from bench.programs import floor


def mixed(mesh: Mesh, effort: Effort, folder: Path) -> Figure:
    """`minilm` at 128 in flight; both execute rows of the same lengths in the same order."""
    model, tokenizer = (
        str(mesh.model_file("minilm-encoder", "model.onnx")),
        mesh.model_file("minilm-tokenizer", "tokenizer.json"),
    )
    check_minilm(mesh, next(texts(tokenizer, [32], seed=1)))
    file = folder / "lengths"
    file.write_text(json.dumps(list(itertools.islice(zipf_lengths(seed=0), 256))))
    best = max(floor("padded", model, str(file)), key=lambda run: run["rows_per_s"])
    # About as many as the floor does in the time, so that both are as long.
    lengths = list(itertools.islice(zipf_lengths(seed=0), int(best["rows_per_s"] * effort.run_s)))
    file.write_text(json.dumps(lengths))
    seeds = itertools.count(2)
    ours, floors = interleaved(
        effort,
        lambda: distinct(mesh.target, texts(tokenizer, lengths, seed=next(seeds)), folder).per_s,
        lambda: floor("padded", model, str(file), "--batch", str(best["batch"]))[0]["rows_per_s"],
    )
    return Figure(
        "`minilm`, 8 to 256 tokens (Zipf), 128 in flight / padded to the longest",
        f"{spread(ours)}/s",
        f"{spread(floors)}/s at batch {best['batch']}, {best['waste']:.0%} padding",
        interleaved_ratio(ours, floors),
        must=1.5,
        aim=2.5,
    )
