"""`minilm-encoder` through the batcher's own execution: padding changes no answer, and stays in bounds."""

from pathlib import Path

import numpy as np
import pytest

from headrace.inference.backends.grouping import GroupingBackend
from headrace.inference.backends.onnx import OnnxBackend
from headrace.inference.config import read_config, signature_of
from headrace.inference.execution import Executed, Work, execute
from headrace.inference.lengths import RaggedInputs, lengths_of

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def encoder(repository: Path) -> OnnxBackend:
    """`minilm-encoder`."""
    folder = repository / "minilm-encoder"
    return OnnxBackend(folder / "1" / "model.onnx", signature_of(read_config(folder)))


def embeddings(done: Executed) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.concatenate(
        [
            np.frombuffer(answer.values[0], np.float32).reshape(answer.shapes[0])
            for answer in done.answers
            if answer
        ]
    )


def test_tokens_of_different_lengths_share_a_batch(repository: Path, encoder: OnnxBackend) -> None:
    """The encoder opted in: each embedding is the one that it would have had alone, to 1e-5."""
    lengths = lengths_of(read_config(repository / "minilm-encoder"))
    assert isinstance(lengths, RaggedInputs)
    rng = np.random.default_rng(7)
    works = []
    for size in (3, 9, 5, 12, 1):
        ids = rng.integers(0, 30_000, (1, size), dtype=np.int64)
        works.append(Work(1, [ids.shape] * 2, [ids.tobytes(), np.ones_like(ids).tobytes()]))
    together = execute(encoder, works, axes=lengths.axes)
    assert (together.runs, together.cells, together.padded) == (1, 60, 30)
    alone = np.concatenate([embeddings(execute(encoder, [work], axes=lengths.axes)) for work in works])
    np.testing.assert_allclose(embeddings(together), alone, atol=TOLERANCE)


def test_rows_of_a_request_are_encoded_in_groups_of_about_one_length(encoder: OnnxBackend) -> None:
    """Padded by their caller, in any order: each its own embedding, and less than 15 % of padding."""
    backend = GroupingBackend(encoder, [1, 1], 1, 0.15)
    rng = np.random.default_rng(8)
    sizes = [1 + number * 5 % 17 for number in range(12)]
    rows = [rng.integers(1, 30_000, (1, size), dtype=np.int64) for size in sizes]
    ids = np.concatenate([np.pad(row, ((0, 0), (0, 17 - row.shape[1]))) for row in rows])
    together = execute(
        backend, [Work(12, [ids.shape] * 2, [ids.tobytes(), (ids > 0).astype(np.int64).tobytes()])]
    )
    assert together.runs == 1
    assert together.cells - together.padded == sum(sizes)
    assert together.padded <= 0.15 * together.cells
    alone = [
        execute(backend, [Work(1, [row.shape] * 2, [row.tobytes(), np.ones_like(row).tobytes()])])
        for row in rows
    ]
    np.testing.assert_allclose(
        embeddings(together), np.concatenate([embeddings(one) for one in alone]), atol=TOLERANCE
    )


def test_a_row_that_is_all_masked_costs_one_position(encoder: OnnxBackend) -> None:
    """And has the embedding of nothing: zeros."""
    backend = GroupingBackend(encoder, [1, 1], 1, 0.15)
    ids = np.ones((2, 6), np.int64)
    mask = np.array([[1] * 6, [0] * 6], np.int64)
    done = execute(backend, [Work(2, [ids.shape] * 2, [ids.tobytes(), mask.tobytes()])])
    assert (done.cells, done.padded) == (7, 0)
    assert not embeddings(done)[1].any()
