"""Text to embedding: a tokenizer in front of an encoder, padded to texts of about the same length."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from headrace.inference.backend import Backend, PaddedOutputs
from headrace.inference.core.padding import grouped
from headrace.inference.core.tensors import Array, Signature, Value

MAX_TEXT_BYTES = 64 * 1024
"""Of one text; the tokenizer would read all of it to keep its first 256 tokens."""


class TextBackend:
    """BYTES [N] of UTF-8 in; the encoder's first output out.

    The encoder takes `input_ids` and `attention_mask`, INT64 [N, L]; padding is
    masked, so a text's answer does not depend on its batch-mates.
    """

    platform = "headrace_text"

    def __init__(
        self, tokenizer: Path, encoder: Backend, signature: Signature, padding: float = 0.15
    ) -> None:
        self.signature = signature
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(tokenizer))
        self._encoder = encoder
        self._padding = padding

    @property
    def longest(self) -> int:
        """Tokens of a text at the most."""
        truncation = self._tokenizer.truncation
        return int(truncation["max_length"]) if truncation else MAX_TEXT_BYTES

    def execute(self, inputs: list[Array]) -> list[Array]:
        """Tokenises the batch, and encodes it in groups of about one length."""
        texts = [element.decode() for element in inputs[0].reshape(-1)]
        tokens = [self._tokenizer.encode(text).ids for text in texts]
        lengths = [len(ids) for ids in tokens]
        groups = grouped(lengths, self._padding)
        parts = [self._encoded([tokens[place] for place in group]) for group in groups]
        cells = sum(lengths[group[0]] * len(group) for group in groups)
        outputs = parts[0]
        if groups != [list(range(len(texts)))]:
            order = np.argsort([place for group in groups for place in group])
            outputs = [np.concatenate(column)[order] for column in zip(*parts, strict=True)]
        return PaddedOutputs(outputs, cells, cells - sum(lengths))

    def _encoded(self, tokens: list[list[int]]) -> list[Array]:
        ids = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
        mask = np.zeros_like(ids)
        for row, own in enumerate(tokens):
            ids[row, : len(own)] = own
            mask[row, : len(own)] = 1
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
