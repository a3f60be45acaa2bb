"""What an answer tells of itself when its request asks: the call's trailing metadata as response parameters.

Whoever can't read trailers, or sends many requests on one stream, has them so.
They are put behind an answer that is finished: no cache keeps them, and nobody
who does not ask pays for them.
"""

from collections.abc import Iterable, Mapping

from headrace.inference.errors import parameter_invalid
from headrace.inference.v2.grpc_service_pb2 import InferParameter, ModelInferRequest, ModelInferResponse

EXPLAIN = "headrace_explain"
"""The request's parameter that asks; true or false."""

NUMBERS = frozenset(
    {
        "headrace-queue-us",
        "headrace-batch-wait-us",
        "headrace-compute-us",
        "headrace-total-us",
        "headrace-batch-size",
        "headrace-batch-position",
        "headrace-cost-nanos",
    }
)
TEXTS = frozenset({"headrace-cache", "headrace-currency", "headrace-replica", "headrace-trace-id"})

Trailing = Iterable[tuple[str, str]]


def check_explain(model: str, parameters: Mapping[str, InferParameter]) -> None:
    """Raises PARAMETER_INVALID for an `EXPLAIN` that is neither true nor false."""
    kind = parameters[EXPLAIN].WhichOneof("parameter_choice") if EXPLAIN in parameters else "bool_param"
    if kind != "bool_param":
        raise parameter_invalid(model, EXPLAIN, f"expected bool_param, got {kind or 'nothing'}")


def told(request: ModelInferRequest, trailing: Trailing) -> dict[str, int | str]:
    """The parameters of the answer; none where `request` does not ask.

    Numbers and texts only: clients of the older contract know no other kinds.
    """
    asked = request.parameters
    if EXPLAIN not in asked or not asked[EXPLAIN].bool_param:
        return {}
    return {
        name.replace("-", "_"): int(value) if name in NUMBERS else value
        for name, value in trailing
        if name in NUMBERS or name in TEXTS
    }


def with_told(answer: bytes, request: ModelInferRequest, trailing: Trailing) -> bytes:
    """A serialised ModelInferResponse, with what is told of it where `request` asks for that.

    Protobuf messages merge by concatenation: the answer is not written anew.
    """
    parameters = told(request, trailing)
    if not parameters:
        return answer
    said = ModelInferResponse()
    for name, value in parameters.items():
        if isinstance(value, int):
            said.parameters[name].int64_param = value
        else:
            said.parameters[name].string_param = value
    return answer + said.SerializeToString()
