"""`minilm-encoder`, checked without torch; test_minilm_torch.py compares it with torch."""

import numpy as np
import onnxruntime as ort
import pytest

from headrace.inference.demo import minilm
from tests.support.minilm import GOLDEN, TEXTS, Embedder


@pytest.fixture(scope="module")
def embed(encoder: ort.InferenceSession) -> Embedder:
    return Embedder(encoder)


def test_its_signature_is_the_contract_s(encoder: ort.InferenceSession) -> None:
    """Names and element types are what clients send and read."""
    inputs = {value.name: value.type for value in encoder.get_inputs()}
    outputs = {value.name: (value.type, value.shape[1]) for value in encoder.get_outputs()}
    assert inputs == {"input_ids": "tensor(int64)", "attention_mask": "tensor(int64)"}
    assert outputs == {"embedding": ("tensor(float)", minilm.HIDDEN)}


def test_an_embedding_is_the_one_that_torch_gives(embed: Embedder) -> None:
    """Eight values of an embedding computed with torch 2.13 from the same weights."""
    (embedding,) = embed(TEXTS[:1])
    np.testing.assert_allclose(embedding[:8], GOLDEN, atol=1e-5)


def test_embeddings_have_unit_length(embed: Embedder) -> None:
    """The norm is part of the graph, so a dot product is a cosine."""
    np.testing.assert_allclose(np.linalg.norm(embed(TEXTS), axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("length", [0, 64, 256])
def test_neither_batch_nor_padding_changes_an_answer(embed: Embedder, length: int) -> None:
    """The batcher pads to the longest of whoever is there; a caller must not notice."""
    alone = np.concatenate([embed([text]) for text in TEXTS])
    np.testing.assert_allclose(embed(TEXTS, length), alone, atol=1e-5)


def test_what_stands_in_the_padding_is_not_read(embed: Embedder, encoder: ort.InferenceSession) -> None:
    """The mask decides, not the padding's token."""
    feed = embed.feed(TEXTS[:1], 32)
    feed["input_ids"][feed["attention_mask"] == 0] = 2003
    (embedding,) = encoder.run(["embedding"], feed)
    np.testing.assert_allclose(embedding, embed(TEXTS[:1]), atol=1e-5)


def test_alike_sentences_are_closer(embed: Embedder) -> None:
    """Cat and kitten against interest rates: the weights are in the right places."""
    cat, kitten, rates, _ = embed(TEXTS)
    assert cat @ kitten > 0.5
    assert cat @ rates < 0.1


def test_an_empty_mask_gives_zeros(encoder: ort.InferenceSession) -> None:
    """Nothing attended is no division by zero: NaN would break JSON clients."""
    feed = {"input_ids": np.zeros((1, 4), np.int64), "attention_mask": np.zeros((1, 4), np.int64)}
    (embedding,) = encoder.run(["embedding"], feed)
    np.testing.assert_array_equal(embedding, np.zeros((1, minilm.HIDDEN), np.float32))


def test_the_longest_input_is_512_tokens(encoder: ort.InferenceSession) -> None:
    """The position table ends there."""
    ids = np.full((1, minilm.MAX_TOKENS), 2003)
    (embedding,) = encoder.run(["embedding"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    np.testing.assert_allclose(np.linalg.norm(embedding), 1, atol=1e-5)
