"""Single calls through a gateway with a real gRPC client: to check answers, to read statistics.

A benchmark of wrong answers measures nothing, so each figure begins with one
answer that is compared with ONNX Runtime called directly.
"""

import grpc
import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from bench.frames import FIXED_ROW, linear_request, minilm_request
from bench.mesh import Mesh
from bench.target import MODEL_INFER, Target
from headrace.inference.v2 import grpc_service_pb2 as pb

TIMEOUT_S = 10
TOLERANCE = 1e-5
STATISTICS = "/inference.GRPCInferenceService/ModelStatistics"


class CallFailed(Exception):
    """The call had no answer, or a wrong one."""


def infer(target: Target, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
    """One ModelInfer; raises `CallFailed`."""
    return pb.ModelInferResponse.FromString(answered(target, request))


def answered(target: Target, request: pb.ModelInferRequest) -> bytes:
    """One ModelInfer, its answer as it came; raises `CallFailed`."""
    return _unary(target, MODEL_INFER, request.SerializeToString())


def executed_rows(target: Target, model: str) -> int:
    """How many rows the model has executed since its start."""
    answer = _unary(target, STATISTICS, pb.ModelStatisticsRequest(name=model).SerializeToString())
    return sum(stat.inference_count for stat in pb.ModelStatisticsResponse.FromString(answer).model_stats)


def check_linear(mesh: Mesh, model: str = "linear") -> None:
    """`linear`, or its twin, answers what ONNX Runtime answers; raises `CallFailed`."""
    session = ort.InferenceSession(mesh.model_file(model, "model.onnx"), providers=["CPUExecutionProvider"])
    response = infer(mesh.target, linear_request(model=model))
    _compare(model, response, session.run(None, {"x": FIXED_ROW})[0])


def check_minilm(mesh: Mesh, text: str) -> None:
    """`minilm` answers what its tokenizer and encoder answer alone; raises `CallFailed`."""
    file = mesh.model_file("minilm-encoder", "model.onnx")
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(mesh.model_file("minilm-tokenizer", "tokenizer.json")))
    ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
    expected = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
    _compare("minilm", infer(mesh.target, minilm_request(text)), expected)


def _compare(model: str, response: pb.ModelInferResponse, expected: np.ndarray) -> None:
    got = np.frombuffer(response.raw_output_contents[0], np.float32)
    if not np.allclose(got, expected.reshape(-1), atol=TOLERANCE):
        raise CallFailed(f"{model} answered {got[:4]}..., not {expected.reshape(-1)[:4]}...")


def _unary(target: Target, method: str, message: bytes) -> bytes:
    metadata = (("authorization", f"Bearer {target.token}"),)
    # Retries would hide failures from the counts.
    options = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
    with grpc.insecure_channel(f"127.0.0.1:{target.port}", options) as channel:
        try:
            call = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
            answer: bytes | None = call(message, metadata=metadata, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            raise CallFailed(f"{method} at {target.name}: {error.code().name}: {error.details()}") from error
    return answer or b""  # the C server's answer holds no message
