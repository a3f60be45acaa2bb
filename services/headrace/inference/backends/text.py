"""Text to embedding: a tokenizer in front of an encoder, padded to the batch's longest text."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from headrace.inference.backend import Backend
from headrace.inference.core.tensors import Array, Signature, Value

MAX_TEXT_BYTES = 64 * 1024
"""Of one text; the tokenizer would read all of it to keep its first 256 tokens."""


class TextBackend:
    """BYTES [N] of UTF-8 in; the encoder's first output out.

    The encoder takes `input_ids` and `attention_mask`, INT64 [N, L]; padding is
    masked, so a text's answer does not depend on its batch-mates.
    """

    platform = "headrace_text"

    def __init__(self, tokenizer: Path, encoder: Backend, signature: Signature) -> None:
        self.signature = signature
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(tokenizer))
        self._encoder = encoder

    def execute(self, inputs: list[Array]) -> list[Array]:
        """Tokenises and encodes the batch."""
        texts = [element.decode() for element in inputs[0].reshape(-1)]
        encodings = [self._tokenizer.encode(text) for text in texts]
        longest = max(len(encoding.ids) for encoding in encodings)
        rows = len(texts)
        ids = np.zeros((rows, longest), np.int64)
        mask = np.zeros((rows, longest), np.int64)
        for row, encoding in enumerate(encodings):
            size = len(encoding.ids)
            ids[row, :size] = encoding.ids
            mask[row, :size] = 1
        return self._encoder.execute([ids, mask])

    def count(self, texts: list[str]) -> int:
        """The tokens that it makes of the texts, those at their ends included."""
        return sum(len(self._tokenizer.encode(text).ids) for text in texts)

    def problem(self, values: list[Value]) -> str:
        """Texts are UTF-8 and of bounded length."""
        for text in values[0]:
            if len(text) > MAX_TEXT_BYTES:  # type: ignore[arg-type]  # a BYTES value is a list of bytes
                return f"expected texts of at most {MAX_TEXT_BYTES} bytes, got {len(text)}"  # type: ignore[arg-type]
            try:
                text.decode()  # type: ignore[union-attr]
            except UnicodeDecodeError:
                return "expected UTF-8 text"
        return ""

    def close(self) -> None:
        """The encoder belongs to its own model."""
