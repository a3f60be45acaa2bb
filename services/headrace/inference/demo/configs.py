"""The `config.pbtxt` of each demo model.

No instance group, but for the tokenizer: the server starts as many one-thread instances as it has cores for.
"""

from headrace.inference.backends.tokenizer import IDS
from headrace.inference.backends.tokenizer import MASK as ATTENDED
from headrace.inference.config import EMBEDDINGS, LONGEST, WITHIN
from headrace.inference.demo import linear, minilm
from headrace.inference.lengths import MASK, RAGGED
from headrace.inference.v2.model_config_pb2 import (
    TYPE_FP32,
    TYPE_INT32,
    TYPE_INT64,
    TYPE_STRING,
    ModelConfig,
    ModelDynamicBatching,
    ModelEnsembling,
    ModelInput,
    ModelInstanceGroup,
    ModelOutput,
    ModelParameter,
    ModelQueuePolicy,
    ModelResponseCache,
)

BYTES = 2048
"""Input bytes that magika looks at."""
LABELS = 214
"""File types that magika tells apart."""

_MAX_BATCH = 32
_MAX_DELAY_US = 100_000  # an upper bound: an idle instance takes what is there at once
_ENCODER_BEST = 16  # rows: beyond it a batch of texts leaves the processor's caches and each row costs more
_CACHED = ModelResponseCache(enable=True)


def linear_config(name: str, *, cached: bool) -> ModelConfig:
    """`linear`, and `linear-cached`, which differs by its response cache only."""
    return ModelConfig(
        name=name,
        backend="onnxruntime",
        max_batch_size=_MAX_BATCH,
        input=[ModelInput(name="x", data_type=TYPE_FP32, dims=[linear.INPUTS])],
        output=[ModelOutput(name="y", data_type=TYPE_FP32, dims=[linear.OUTPUTS])],
        dynamic_batching=_batching(max_queue=8192, timeout_s=10),
        response_cache=_CACHED if cached else None,
    )


def magika_config(name: str) -> ModelConfig:
    """A file's first and last bytes in, a score for each type out."""
    return ModelConfig(
        name=name,
        backend="onnxruntime",
        max_batch_size=_MAX_BATCH,
        input=[ModelInput(name="bytes", data_type=TYPE_INT32, dims=[BYTES])],
        output=[ModelOutput(name="scores", data_type=TYPE_FP32, dims=[LABELS])],
        dynamic_batching=_batching(max_queue=4096, timeout_s=30),
        response_cache=_CACHED,
    )


def encoder_config(name: str) -> ModelConfig:
    """Token ids in, embedding out; not cacheable itself, `minilm` above it is.

    The bounds are those of the graph's tables: beyond them a look-up fails, or takes a row from the end.
    """
    bounds = {
        f"{WITHIN}input_ids": f"0:{minilm.VOCABULARY - 1}",
        f"{LONGEST}input_ids": str(minilm.MAX_TOKENS),
        f"{LONGEST}attention_mask": str(minilm.MAX_TOKENS),
        f"{RAGGED}input_ids": "0",
        f"{RAGGED}attention_mask": "0",
        MASK: "attention_mask",
    }
    return ModelConfig(
        name=name,
        backend="onnxruntime",
        max_batch_size=_MAX_BATCH,
        input=[
            ModelInput(name="input_ids", data_type=TYPE_INT64, dims=[-1]),
            ModelInput(name="attention_mask", data_type=TYPE_INT64, dims=[-1]),
        ],
        output=[ModelOutput(name="embedding", data_type=TYPE_FP32, dims=[minilm.HIDDEN])],
        dynamic_batching=_batching(max_queue=4096, timeout_s=30, preferred=_ENCODER_BEST),
        parameters={key: ModelParameter(string_value=text) for key, text in bounds.items()},
    )


def tokenizer_config(name: str) -> ModelConfig:
    """Text in, token ids out; no dims: one text an item, so `text` has shape [N].

    One instance: a batch of texts takes a few percent of what it takes the encoder.
    """
    return ModelConfig(
        name=name,
        backend="headrace_tokenizer",
        max_batch_size=_MAX_BATCH,
        input=[ModelInput(name="text", data_type=TYPE_STRING)],
        output=[ModelOutput(name=tensor, data_type=TYPE_INT64, dims=[-1]) for tensor in (IDS, ATTENDED)],
        instance_group=[ModelInstanceGroup(count=1, kind=ModelInstanceGroup.KIND_CPU)],
        dynamic_batching=_batching(max_queue=4096, timeout_s=30),
    )


def text_config(name: str, *, tokenizer: str, encoder: str) -> ModelConfig:
    """Text in, embedding out: the tokenizer, then the encoder, each with a queue of its own."""
    tokens = {tensor: tensor for tensor in (IDS, ATTENDED)}
    return ModelConfig(
        name=name,
        platform="ensemble",
        max_batch_size=_MAX_BATCH,
        input=[ModelInput(name="text", data_type=TYPE_STRING)],
        output=[ModelOutput(name="embedding", data_type=TYPE_FP32, dims=[minilm.HIDDEN])],
        ensemble_scheduling=ModelEnsembling(
            step=[
                ModelEnsembling.Step(
                    model_name=tokenizer, model_version=-1, input_map={"text": "text"}, output_map=tokens
                ),
                ModelEnsembling.Step(
                    model_name=encoder,
                    model_version=-1,
                    input_map=tokens,
                    output_map={"embedding": "embedding"},
                ),
            ]
        ),
        response_cache=_CACHED,
        parameters={EMBEDDINGS: ModelParameter(string_value="true")},
    )


def _batching(*, max_queue: int, timeout_s: int, preferred: int = 0) -> ModelDynamicBatching:
    """`timeout_s` is for callers that set no deadline."""
    return ModelDynamicBatching(
        preferred_batch_size=[preferred] if preferred else [],
        max_queue_delay_microseconds=_MAX_DELAY_US,
        default_queue_policy=ModelQueuePolicy(
            max_queue_size=max_queue,
            default_timeout_microseconds=timeout_s * 1_000_000,
            allow_timeout_override=True,
        ),
    )
