"""Text to tokens: the first step of what embeds or classifies text."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from headrace.inference.backend import RaggedOutputs
from headrace.inference.core.tensors import Array, Signature, Value

MAX_TEXT_BYTES = 64 * 1024
"""Of one text; the tokenizer would read all of it to keep its first 256 tokens."""

IDS, MASK = "input_ids", "attention_mask"


class TokenizerBackend:
    """BYTES [N] of UTF-8 in; `input_ids` and `attention_mask` out, INT64 [N, L].

    L is the longest of a request's own texts, whoever shares its batch: others
    of the request have zeros behind their tokens, and in the mask.
    """

    platform = "headrace_tokenizer"

    def __init__(self, tokenizer: Path, signature: Signature) -> None:
        self.signature = signature
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(tokenizer))
        self._masks = [spec.name == MASK for spec in signature.outputs]

    def execute(self, inputs: list[Array]) -> RaggedOutputs:
        """Tokenises each text."""
        rows = [self._ids(text) for text in inputs[0].reshape(-1).tolist()]
        return RaggedOutputs([[np.ones_like(ids) for ids in rows] if mask else rows for mask in self._masks])

    def count(self, texts: list[str]) -> int:
        """The tokens that it makes of the texts, those at their ends included. Takes time: not for the event loop."""
        return sum(len(self._ids(text.encode())) for text in texts)

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
        """The tokenizer goes with its last reference."""

    def _ids(self, text: bytes) -> Array:
        # One at a time: several are spread over threads of its own, whose CPU nobody would be charged for.
        (encoded,) = self._tokenizer.encode_batch_fast([text.decode()])
        return np.array(encoded.ids, np.int64)
