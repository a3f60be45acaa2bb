"""`minilm` and `minilm-encoder` through the batcher's own execution: padding changes no answer, and stays in bounds."""

from pathlib import Path

import numpy as np
import pytest

from headrace.inference.backends.onnx import OnnxBackend
from headrace.inference.backends.text import TextBackend
from headrace.inference.config import read_config, signature_of
from headrace.inference.execution import Executed, Work, execute
from headrace.inference.lengths import RaggedInputs, lengths_of, padding_of

TOLERANCE = 1e-5
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog",
    "while",
    "rain",
    "falls",
    "on",
    "the",
    "roof",
    "of",
    "the",
    "mill",
]


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
    lengths = lengths_of(read_config(repository / "minilm-encoder"), 0)
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


def test_texts_are_encoded_in_groups_of_about_one_length(repository: Path, encoder: OnnxBackend) -> None:
    """In any order, several to a request: each its own embedding, and less than 15 % of padding."""
    folder = repository / "minilm"
    config = read_config(folder)
    backend = TextBackend(folder / "1" / "tokenizer.json", encoder, signature_of(config), padding_of(config))
    texts = [" ".join(WORDS[: 1 + number * 5 % 17]).encode() for number in range(12)]
    works = [Work(2, [(2,)], [texts[at : at + 2]]) for at in range(0, 12, 2)]
    together = execute(backend, works)
    assert together.padded <= 0.15 * together.cells
    alone = np.concatenate([embeddings(execute(backend, [Work(1, [(1,)], [[text]])])) for text in texts])
    np.testing.assert_allclose(embeddings(together), alone, atol=TOLERANCE)
    assert backend.longest == 256
