"""A batch's way through the model."""

from math import ceil, log2

import numpy as np
import pytest
from structlog.testing import capture_logs

from headrace.inference.core.tensors import Array, Signature, TensorSpec, Value
from headrace.inference.execution import Work, execute
from tests.fakes.inference import Doubling


def work(*numbers: float) -> Work:
    values = np.array([[number, number] for number in numbers], np.float32)
    return Work(len(numbers), [(len(numbers), 2)], [values.tobytes()])


def test_rows_are_joined_and_cut_where_they_were() -> None:
    """Each request gets as many rows as it brought, in its order."""
    done = execute(Doubling(max_batch_size=8), [work(1), work(2, 3), work(4)])
    assert [bytes(a.values[0]) for a in done.answers if a] == [
        work(2).values[0],
        work(4, 6).values[0],
        work(8).values[0],
    ]
    assert [a.shapes for a in done.answers if a] == [[(1, 2)], [(2, 2)], [(1, 2)]]
    assert done.started_ns <= done.infer_ns <= done.output_ns <= done.ended_ns


def test_a_failed_batch_is_halved_until_what_fails_is_alone() -> None:
    """Who did not cause the failure does not have it; one of 16 costs 2 log2(16) runs more, not 16."""
    backend = Doubling(max_batch_size=16)
    backend.poison = 5.0
    done = execute(backend, [work(number) for number in range(16)])
    assert [answer is None for answer in done.answers] == [number == 5 for number in range(16)]
    assert done.runs == len(backend.runs) == 9


def test_several_bad_requests_are_all_found() -> None:
    """However they are spread, and if all are bad, each is told so."""
    backend = Doubling(max_batch_size=8)
    backend.poison = 1.0
    numbers = [1, 2, 1, 1, 3]
    done = execute(backend, [work(number) for number in numbers])
    assert [answer is None for answer in done.answers] == [number == 1 for number in numbers]
    assert execute(backend, [work(1), work(1)]).answers == [None, None]


@pytest.mark.parametrize("largest", [6, pytest.param(12, marks=pytest.mark.slow)])
def test_whichever_are_bad_the_others_are_answered(largest: int) -> None:
    """Every set of bad requests in a batch of every size: each fails, and nobody else; one costs 2 log2(n) runs more."""
    with capture_logs():
        for size in range(1, largest + 1):
            for bad in range(2**size):
                backend = Doubling(max_batch_size=size)
                backend.poison = 77.0
                numbers = [77.0 if bad >> place & 1 else float(place) for place in range(size)]
                done = execute(backend, [work(number) for number in numbers])
                assert [answer is None for answer in done.answers] == [number == 77 for number in numbers]
                answered = [bytes(answer.values[0]) for answer in done.answers if answer]
                assert answered == [work(2 * number).values[0] for number in numbers if number != 77]
                if bad.bit_count() == 1:
                    assert done.runs <= 1 + 2 * ceil(log2(size))


def test_who_spoils_a_run_pays_for_it() -> None:
    """Batch-mates pay for the run that answered them; nothing of the thread's time is lost."""

    class Slow(Doubling):
        """Takes longest for what fails."""

        def execute(self, inputs: list[Array]) -> list[Array]:
            """Counts to a hundred thousand where it will fail."""
            if (inputs[0] == self.poison).any():
                assert sum(range(100_000)) > 0
            return super().execute(inputs)

    backend = Slow(max_batch_size=8)
    backend.poison = 2.0
    done = execute(backend, [work(1), work(2), work(3), work(4)])
    assert done.shares[1] > 10 * max(done.shares[0], done.shares[2], done.shares[3])
    assert done.cpu_ns == sum(done.shares)


def test_whom_nobody_waits_for_is_not_run_again() -> None:
    """A caller that left meanwhile is not computed for."""
    backend = Doubling(max_batch_size=8)
    backend.poison = 2.0
    done = execute(backend, [work(1), work(2), work(3), work(4)], lambda place: place != 3)
    assert backend.runs == [[1, 2, 3, 4], [1, 2], [1], [2], [3]]
    assert [answer is None for answer in done.answers] == [False, True, False, True]


def test_an_answer_carries_its_requests_tag() -> None:
    """Also when the batch was run in halves."""
    backend = Doubling(max_batch_size=8)
    backend.poison = 2.0
    works = [work(number) for number in (1, 2, 3, 4)]
    for tag, one in enumerate(works, 70):
        one.tag = tag
    tags = [answer and answer.tag for answer in execute(backend, works).answers]
    assert tags == [70, None, 72, 73]


class Short(Doubling):
    """Gives one row, whatever came."""

    def execute(self, inputs: list[Array]) -> list[Array]:
        """One row."""
        return [inputs[0][:1]]


def test_a_model_that_gives_too_few_rows_fails() -> None:
    """Rows are never handed to somebody else because they did not come."""
    done = execute(Short(), [work(1, 2)])
    assert done.answers == [None]


class Shouting:
    """BYTES [N] in upper case."""

    platform = "fake"
    signature = Signature("shouting", (TensorSpec("t", "BYTES", ()),), (TensorSpec("u", "BYTES", ()),), 4)

    def execute(self, inputs: list[Array]) -> list[Array]:
        """Shouts."""
        out = np.empty(inputs[0].shape, dtype=object)
        out[:] = [one.upper() for one in inputs[0]]
        return [out]

    def problem(self, values: list[Value]) -> str:
        """Nothing."""
        return ""

    def close(self) -> None:
        """Nothing."""


def test_strings_pass_in_their_raw_form() -> None:
    """Lengths in front, zeros inside."""
    done = execute(Shouting(), [Work(1, [(1,)], [[b"a\0b"]]), Work(2, [(2,)], [[b"", b"c"]])])
    assert [a.values for a in done.answers if a] == [
        [b"\x03\0\0\0A\0B"],
        [b"\0\0\0\0\x01\0\0\0C"],
    ]


def test_zero_elements_pass() -> None:
    """A free dimension of 0 is a tensor too."""

    class Empty(Doubling):
        """Takes [N, -1]."""

        def execute(self, inputs: list[Array]) -> list[Array]:
            """As they came."""
            assert inputs[0].shape == (2, 0)
            return [inputs[0]]

    backend = Empty()
    backend.signature = Signature(
        "empty", (TensorSpec("x", "FP32", (-1,)),), (TensorSpec("y", "FP32", (-1,)),), 4
    )
    done = execute(backend, [Work(1, [(1, 0)], [b""]), Work(1, [(1, 0)], [b""])])
    assert [a.shapes for a in done.answers if a] == [[(1, 0)], [(1, 0)]]
