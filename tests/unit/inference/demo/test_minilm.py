"""`minilm-encoder`, checked without torch; test_minilm_torch.py compares it with torch."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from headrace.inference.config import read_config, signature_of
from headrace.inference.decoder import Decoder
from headrace.inference.demo import minilm
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.runtime.errors import HeadraceError
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


def request(ids: list[int]) -> ModelInferRequest:
    message = ModelInferRequest()
    for name, values in (("input_ids", ids), ("attention_mask", [1] * len(ids))):
        message.inputs.add(name=name, datatype="INT64", shape=[1, len(ids)])
        message.raw_input_contents.append(np.array(values, np.int64).tobytes())
    return message


def test_every_token_of_the_vocabulary_is_embedded(encoder: ort.InferenceSession, repository: Path) -> None:
    """The first and the last one pass the check of the configuration, and the graph has both."""
    decoder = Decoder(signature_of(read_config(repository / "minilm-encoder")))
    ids = [0, minilm.VOCABULARY - 1]
    assert decoder.decode(request(ids)).rows == 1
    (embedding,) = encoder.run(["embedding"], {"input_ids": [ids], "attention_mask": [[1, 1]]})
    np.testing.assert_allclose(np.linalg.norm(embedding), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        ([minilm.VOCABULARY], "expected values from 0 to 30521, got 30522 for input 'input_ids'"),
        ([-1], "expected values from 0 to 30521, got -1 for input 'input_ids'"),
        (
            [0] * (minilm.MAX_TOKENS + 1),
            "expected free dimensions of at most 512, got [1, 513] for input 'input_ids'",
        ),
    ],
    ids=["too high", "negative", "too long"],
)
def test_no_token_beyond_the_tables_reaches_them(repository: Path, ids: list[int], problem: str) -> None:
    """The caller is told; a look-up would fail the batch, or take a row from the table's end."""
    decoder = Decoder(signature_of(read_config(repository / "minilm-encoder")))
    with pytest.raises(HeadraceError) as error:
        decoder.decode(request(ids))
    assert error.value.reason == "TENSOR_INVALID"
    assert error.value.violations[0].description == problem
