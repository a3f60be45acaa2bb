"""Models that pad: what a configuration says of it, and that padding changes no answer."""

import re

import numpy as np
import pytest

from headrace.inference.core.tensors import Array, Signature, TensorSpec, Value
from headrace.inference.execution import Work, execute
from headrace.inference.lengths import (
    RaggedInputs,
    length_problems,
    lengths_of,
    padding_of,
)
from headrace.inference.v2.model_config_pb2 import (
    TYPE_FP32,
    TYPE_INT64,
    TYPE_STRING,
    ModelConfig,
    ModelInput,
    ModelOutput,
)


def config(**parameters: str) -> ModelConfig:
    """Two inputs of free length and one that is fixed; parameters without `headrace_`."""
    made = ModelConfig(
        max_batch_size=8,
        input=[
            ModelInput(name="ids", data_type=TYPE_INT64, dims=[-1]),
            ModelInput(name="mask", data_type=TYPE_INT64, dims=[-1]),
            ModelInput(name="bias", data_type=TYPE_FP32, dims=[2]),
            ModelInput(name="text", data_type=TYPE_STRING, dims=[-1]),
        ],
        output=[ModelOutput(name="sum", data_type=TYPE_INT64, dims=[1])],
    )
    for name, text in parameters.items():
        made.parameters[f"headrace_{name}"].string_value = text
    return made


OPTED_IN = {"ragged.ids": "0", "ragged.mask": "0", "mask": "mask"}


def test_a_model_opts_in() -> None:
    """Without the parameters nothing is padded; 15 % is the bound until it says otherwise."""
    assert lengths_of(config()) is None
    assert lengths_of(config(**OPTED_IN)) == RaggedInputs(("ids", "mask", "bias", "text"), (1, 1, None, None))
    assert padding_of(config()) == 0.15
    assert padding_of(config(padding_percent="5")) == 0.05
    assert length_problems(config(**OPTED_IN, padding_percent="5")) == []


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"ragged.ids": "0"}, r"'headrace_mask': expected one of the inputs .*\['ids'\]\), got ''"),
        ({"ragged.ids": "0", "mask": "mask"}, "got 'mask'"),
        ({"mask": "mask"}, "got 'mask'"),
        (
            {**OPTED_IN, "ragged.ids": "1"},
            r"'headrace_ragged.ids': expected the place of a free .*\(0\), got '1'",
        ),
        ({**OPTED_IN, "ragged.bias": "0"}, "it has none"),
        ({**OPTED_IN, "ragged.text": "0"}, "an input of numbers"),
        ({**OPTED_IN, "ragged.nope": "0"}, "an input's name"),
        ({**OPTED_IN, "padding_percent": "91"}, "expected 0 to 90, got '91'"),
        ({**OPTED_IN, "padding_percent": "few"}, "expected 0 to 90, got 'few'"),
    ],
)
def test_a_mistake_is_named(parameters: dict[str, str], words: str) -> None:
    """The parameter, what was expected, what stands there."""
    (problem,) = length_problems(config(**parameters))
    assert re.search(words, problem), problem


def test_a_padded_model_batches_and_its_outputs_are_fixed() -> None:
    """Rows are what is padded together, and nothing could cut padding off an output."""
    free = config(**OPTED_IN)
    free.output[0].dims[0] = -1
    assert "outputs without free dimensions" in length_problems(free)[0]
    single = config(**OPTED_IN)
    single.max_batch_size = 0
    assert "max_batch_size" in length_problems(single)[0]


def test_padded_inputs_of_a_request_are_equally_long() -> None:
    """The model could not tell otherwise."""
    lengths = RaggedInputs(("ids", "mask"), (1, 1))
    assert lengths.problem(Work(1, [(1, 5), (1, 5)], [b"", b""])) == ""
    assert (
        lengths.problem(Work(1, [(1, 5), (1, 6)], [b"", b""]))
        == "expected ids and mask of one length, got [5, 6]"
    )


def test_what_else_differs_keeps_requests_apart() -> None:
    """Only the padded dimension is left out of the bucket."""
    lengths = RaggedInputs(("a", "b"), (2, None))
    one = lengths.bucket(Work(1, [(1, 3, 5), (1, 2)], [b"", b""]))
    assert one == lengths.bucket(Work(2, [(2, 3, 9), (2, 2)], [b"", b""]))
    assert one != lengths.bucket(Work(1, [(1, 4, 5), (1, 2)], [b"", b""]))


class Summing:
    """sum = the masked sum of ids [N, L]."""

    platform = "fake"
    signature = Signature(
        "summing",
        (TensorSpec("ids", "INT64", (-1,)), TensorSpec("mask", "INT64", (-1,))),
        (TensorSpec("sum", "INT64", (1,)),),
        8,
    )

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def execute(self, inputs: list[Array]) -> list[Array]:
        """Sums."""
        ids, mask = inputs
        self.shapes.append(ids.shape)
        if (ids == -1).any():
            raise RuntimeError("poisoned")
        return [((ids + 1000) * mask).sum(axis=1, keepdims=True)]

    def problem(self, values: list[Value]) -> str:
        """Nothing."""
        return ""

    def close(self) -> None:
        """Nothing."""


def tokens(*rows: list[int]) -> Work:
    ids = np.array(rows, np.int64)
    return Work(len(rows), [ids.shape, ids.shape], [ids.tobytes(), np.ones_like(ids).tobytes()])


def test_requests_of_different_lengths_share_a_run_and_padding_is_counted() -> None:
    """Zeros stand behind the shorter ones, in the mask too."""
    backend = Summing()
    works = [tokens([1, 2, 3]), tokens([4], [5]), tokens([6, 7])]
    done = execute(backend, works, axes=(1, 1))
    sums = [np.frombuffer(a.values[0], np.int64).tolist() for a in done.answers if a]
    assert sums == [[3006], [1004, 1005], [2013]]
    assert backend.shapes == [(4, 3)]
    assert (done.cells, done.padded) == (12, 12 - 3 - 2 - 2)


def test_a_bad_request_among_padded_ones_fails_alone() -> None:
    """Halves are padded anew."""
    done = execute(Summing(), [tokens([1, 2, 3]), tokens([-1]), tokens([6, 7])], axes=(1, 1))
    assert [answer is None for answer in done.answers] == [False, True, False]
