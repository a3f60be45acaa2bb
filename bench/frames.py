"""Requests as they stand on the wire: gRPC frames of ModelInferRequest."""

import itertools
import random
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from headrace.inference.v2 import grpc_service_pb2 as pb

LINEAR_WIDTH = 16
SHORTEST, LONGEST = 8, 256
FIXED_ROW = np.linspace(-1, 1, LINEAR_WIDTH, dtype=np.float32).reshape(1, -1)


def framed(message: bytes) -> bytes:
    """The message with its gRPC prefix: not compressed, length in four bytes."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def linear_request(row: np.ndarray = FIXED_ROW, model: str = "linear") -> pb.ModelInferRequest:
    """One row for `linear`, or for a model that takes the same."""
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype="FP32", shape=row.shape)
    request.raw_input_contents.append(row.tobytes())
    return request


def minilm_request(text: str) -> pb.ModelInferRequest:
    """One text for `minilm`."""
    encoded = text.encode()
    request = pb.ModelInferRequest(model_name="minilm")
    request.inputs.add(name="text", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(struct.pack("<I", len(encoded)) + encoded)
    return request


def texts(tokenizer_file: Path, lengths: Iterable[int], seed: int) -> Iterator[str]:
    """Distinct texts that are as many tokens long as `lengths` says, both special tokens included."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    words = sorted(
        word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha() and len(word) > 3
    )
    draw = random.Random(seed)
    for tokens in lengths:
        text = ""
        while len(tokenizer.encode(text).ids) != tokens:
            text = " ".join(draw.choices(words, k=tokens - 2))
        yield text


def zipf_lengths(seed: int) -> Iterator[int]:
    """Endless lengths of `SHORTEST` to `LONGEST` tokens; the n-th shortest is 1/n as likely as the shortest."""
    lengths = range(SHORTEST, LONGEST + 1)
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(lengths))))
    draw = random.Random(seed)
    while True:
        yield from draw.choices(lengths, cum_weights=weights, k=1024)
