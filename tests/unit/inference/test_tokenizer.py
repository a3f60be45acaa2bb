"""Texts to tokens in a batch: each request has the length of its own longest text. The real tokenizer."""

from pathlib import Path

import numpy as np
import pytest

from headrace.inference.backends.tokenizer import MAX_TEXT_BYTES, TokenizerBackend
from headrace.inference.core.tensors import Signature, TensorSpec
from headrace.inference.execution import Work, execute
from tests.support.small import write_tokenizer

TOKENS = (TensorSpec("input_ids", "INT64", (-1,)), TensorSpec("attention_mask", "INT64", (-1,)))


@pytest.fixture
def backend(tmp_path: Path) -> TokenizerBackend:
    write_tokenizer(tmp_path)
    signature = Signature("words", (TensorSpec("text", "BYTES", ()),), TOKENS, 8)
    return TokenizerBackend(tmp_path / "words" / "1" / "tokenizer.json", signature)


def work(*texts: bytes) -> Work:
    return Work(len(texts), [(len(texts),)], [list(texts)])


def test_a_request_is_as_long_as_its_own_longest_text(backend: TokenizerBackend) -> None:
    """Not as its batch-mates'; shorter texts of its own have zeros behind them, in the mask too."""
    done = execute(backend, [work(b"a b c a b"), work(b"c", b"b a"), work(b"")])
    found = [
        [np.frombuffer(value, np.int64).reshape(shape).tolist() for shape, value in zip(*each, strict=True)]
        for each in ((one.shapes, one.values) for one in done.answers if one)
    ]
    assert found == [
        [[[1, 2, 3, 1, 2]], [[1] * 5]],
        [[[3, 0], [2, 1]], [[1, 0], [1, 1]]],
        [[[]], [[]]],
    ]


def test_the_mask_comes_where_the_configuration_wants_it(tmp_path: Path) -> None:
    """Outputs are told by their names."""
    write_tokenizer(tmp_path)
    signature = Signature("words", (TensorSpec("text", "BYTES", ()),), TOKENS[::-1], 8)
    backend = TokenizerBackend(tmp_path / "words" / "1" / "tokenizer.json", signature)
    (answer,) = execute(backend, [work(b"c b")]).answers
    assert answer is not None
    assert [np.frombuffer(value, np.int64).tolist() for value in answer.values] == [[1, 1], [3, 2]]


def test_texts_are_looked_at_before_they_are_taken(backend: TokenizerBackend) -> None:
    """They are UTF-8, of a bounded size; and counted as they are tokenised."""
    assert backend.problem([[b"a", b"\xc3\xa9"]]) == ""
    assert "UTF-8" in backend.problem([[b"a", b"\xff"]])
    assert "at most 65536 bytes" in backend.problem([[b"a" * (MAX_TEXT_BYTES + 1)]])
    assert backend.count(["a b", "c", ""]) == 3
