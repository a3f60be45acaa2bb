"""The KServe SDK with `linear` on ONNX Runtime: `kserve_server.py MODEL.onnx HTTP_PORT GRPC_PORT`.

Runs in the peer's own environment, which has nothing of ours.
"""

import logging
import sys

import onnxruntime as ort
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Linear(Model):  # type: ignore[misc]  # not installed beside us
    """One call of the session for each request: the SDK batches nothing."""

    def __init__(self, path: str) -> None:
        super().__init__("linear")
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.ready = True

    async def predict(
        self,
        payload: InferRequest,
        headers: object = None,  # noqa: ARG002  # the SDK's signature
        response_headers: object = None,  # noqa: ARG002
    ) -> InferResponse:
        """The model's answer, as raw bytes."""
        y = self._session.run(None, {"x": payload.inputs[0].as_numpy()})[0]
        output = InferOutput(name="y", shape=list(y.shape), datatype="FP32")
        output.set_data_from_numpy(y, binary_data=True)
        return InferResponse(response_id="1", model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    logging.disable(logging.INFO)  # a line for each request is not what is measured
    model, http_port, grpc_port = sys.argv[1:]
    del sys.argv[1:]  # the SDK reads arguments of its own there
    ModelServer(http_port=int(http_port), grpc_port=int(grpc_port), workers=1, enable_docs_url=False).start(
        [Linear(model)]
    )
