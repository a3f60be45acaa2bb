"""MLServer with `linear` on ONNX Runtime: `mlserver_server.py MODEL.onnx HTTP_PORT GRPC_PORT`.

In one process with its adaptive batching, which is its fastest for a model as small as this.
Runs in the peer's own environment, which has nothing of ours.
"""

import asyncio
import logging
import sys

import onnxruntime as ort
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse


class Linear(MLModel):  # type: ignore[misc]  # not installed beside us
    """A batch in one call of the session."""

    async def load(self) -> bool:
        """Opens the session."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The model's answer."""
        y = self._session.run(None, {"x": NumpyCodec.decode_input(payload.inputs[0])})[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", y)])


async def serve(model: str, http_port: int, grpc_port: int) -> None:
    """Serves until it is ended."""
    server = MLServer(
        Settings(
            host="127.0.0.1",
            http_port=http_port,
            grpc_port=grpc_port,
            parallel_workers=0,
            metrics_endpoint=None,
        )
    )
    settings = ModelSettings(
        name="linear",
        implementation=Linear,
        max_batch_size=32,
        max_batch_time=0.001,
        parameters=ModelParameters(uri=model),
    )
    await server.start([settings])


if __name__ == "__main__":
    logging.disable(logging.INFO)  # a line for each request is not what is measured
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
