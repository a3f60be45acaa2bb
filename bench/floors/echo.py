"""The echo floor: one grpc.aio process on uvloop that answers ModelInfer with its own input.

    python -m bench.floors.echo SOCKET

It parses and builds real Open Inference Protocol messages and does nothing
else: what Python costs behind Envoy when gRPC over HTTP/2 carries the call.
"""

import asyncio
import signal
import sys

import grpc
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from headrace.inference.v2 import grpc_service_pb2 as pb


async def model_infer(request: pb.ModelInferRequest, _context: object) -> pb.ModelInferResponse:
    """The first input as the only output."""
    tensor = request.inputs[0]
    response = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
    response.outputs.add(name="y", datatype=tensor.datatype, shape=tensor.shape)
    response.raw_output_contents.append(request.raw_input_contents[0])
    return response


async def serve(socket: str) -> None:
    """Serves on the Unix socket until SIGTERM."""
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        model_infer,
        request_deserializer=pb.ModelInferRequest.FromString,
        response_serializer=pb.ModelInferResponse.SerializeToString,
    )
    service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler})
    server.add_generic_rpc_handlers((service,))
    healthy = HealthServicer()
    await healthy.set("", health_pb2.HealthCheckResponse.SERVING)  # the gateway asks
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(1.0)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
