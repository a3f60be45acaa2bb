"""What an answer tells of itself when its request asks."""

import json

import pytest

from headrace.inference.rest_body import Written
from headrace.inference.told import EXPLAIN, NUMBERS, TEXTS, check_explain, told, with_told
from headrace.inference.v2.grpc_service_pb2 import InferParameter, ModelInferRequest, ModelInferResponse
from headrace.runtime.errors import HeadraceError

TRAILING = [("headrace-queue-us", "12"), ("headrace-replica", "inference-0"), ("endpoint-load-metrics", "x")]
TOLD: dict[str, int | str] = {"headrace_queue_us": 12, "headrace_replica": "inference-0"}


def request(*, explain: bool | None) -> ModelInferRequest:
    message = ModelInferRequest()
    if explain is not None:
        message.parameters[EXPLAIN].bool_param = explain
    return message


def test_the_trailing_metadata_becomes_parameters() -> None:
    """Counts are numbers, names are texts, and what is not of this request's way is left out."""
    answer = ModelInferResponse(model_name="m", id="q", raw_output_contents=[b"abcd"])
    answer.parameters["own"].bool_param = True
    merged = ModelInferResponse.FromString(
        with_told(answer.SerializeToString(), request(explain=True), TRAILING)
    )
    assert merged.parameters.pop("headrace_queue_us").int64_param == 12
    assert merged.parameters.pop("headrace_replica").string_param == "inference-0"
    assert merged == answer


@pytest.mark.parametrize("explain", [None, False])
def test_who_does_not_ask_gets_the_answer_as_it_is(explain: bool | None) -> None:
    """The same object, not a copy."""
    answer, written = b"answer", Written(b"{}")
    assert with_told(answer, request(explain=explain), TRAILING) is answer
    assert written.told(told(request(explain=explain), TRAILING)) is written


def test_kinds_are_those_of_the_oldest_clients() -> None:
    """int64 and string: KServe's and MLServer's contracts have no others beside bool."""
    trailing = [*((name, "1") for name in NUMBERS), *((name, "a") for name in TEXTS)]
    merged = ModelInferResponse.FromString(with_told(b"", request(explain=True), trailing))
    assert len(merged.parameters) == len(NUMBERS) + len(TEXTS)
    kinds = {parameter.WhichOneof("parameter_choice") for parameter in merged.parameters.values()}
    assert kinds == {"int64_param", "string_param"}


def test_an_http_body_tells_at_the_end_of_its_object() -> None:
    """The tensors behind a JSON header stay where they are, and the header's length is the new one."""
    head = b'{"model_name":"m"}'
    plain = Written(head).told(TOLD)
    assert plain.header_length is None
    assert json.loads(plain.data) == {"model_name": "m", "parameters": TOLD}
    binary = Written(head + b"\x00}\x01", len(head)).told(TOLD)
    assert binary.header_length is not None
    assert json.loads(binary.data[: binary.header_length]) == {"model_name": "m", "parameters": TOLD}
    assert binary.data[binary.header_length :] == b"\x00}\x01"


@pytest.mark.parametrize("wrong", [InferParameter(string_param="true"), InferParameter(int64_param=1)])
def test_only_true_or_false_asks(wrong: InferParameter) -> None:
    """A word that looks like an answer to the question is refused, not guessed at."""
    with pytest.raises(HeadraceError, match="headrace_explain") as error:
        check_explain("m", {EXPLAIN: wrong})
    assert error.value.reason == "PARAMETER_INVALID"
    check_explain("m", {EXPLAIN: InferParameter(bool_param=False)})
    check_explain("m", {})
