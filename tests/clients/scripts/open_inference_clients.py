"""Runs in an environment with the protocol's own clients, generated from its proto and its OpenAPI, and nothing of ours."""

import json
import sys
from typing import Any

import grpc
import httpx
import numpy as np
from open_inference.grpc import protocol as pb
from open_inference.grpc.service import GRPCInferenceServiceStub
from open_inference.openapi import InferenceRequest, RequestInput, TensorData
from open_inference.openapi.client import OpenInferenceClient

Job = dict[str, Any]


def by_grpc(job: Job) -> Job:
    metadata = (("authorization", "Bearer " + job["token"]),)
    with grpc.insecure_channel(job["address"]) as channel:
        stub = GRPCInferenceServiceStub(channel)
        request = pb.ModelInferRequest(model_name="linear", id="mine")
        tensor = request.inputs.add(name="x", datatype="FP32", shape=np.shape(job["rows"]))
        tensor.contents.fp32_contents.extend(np.ravel(job["rows"]).tolist())
        answer = stub.ModelInfer(request, metadata=metadata, timeout=60)
        raw = np.frombuffer(answer.raw_output_contents[0], np.float32)
        described = stub.ModelMetadata(pb.ModelMetadataRequest(name="linear"), metadata=metadata, timeout=60)
        return {
            "live": stub.ServerLive(pb.ServerLiveRequest(), metadata=metadata, timeout=60).live,
            "ready": stub.ServerReady(pb.ServerReadyRequest(), metadata=metadata, timeout=60).ready,
            "model_ready": stub.ModelReady(
                pb.ModelReadyRequest(name="linear"), metadata=metadata, timeout=60
            ).ready,
            "server": stub.ServerMetadata(pb.ServerMetadataRequest(), metadata=metadata, timeout=60).name,
            "inputs": [[one.name, one.datatype, list(one.shape)] for one in described.inputs],
            "answer": raw.reshape(list(answer.outputs[0].shape)).tolist(),
        }


def by_rest(job: Job) -> Job:
    headers = {"authorization": "Bearer " + job["token"]}
    client = OpenInferenceClient(
        base_url="http://" + job["address"], httpx_client=httpx.Client(headers=headers, timeout=60)
    )
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness("linear")
    client.check_model_version_readiness("linear", "1")
    described = client.read_model_version_metadata("linear", "1")
    rows = np.array(job["rows"], np.float32)
    wanted = RequestInput(
        name="x", shape=list(rows.shape), datatype="FP32", data=TensorData(__root__=rows.ravel().tolist())
    )
    answer = client.model_infer("linear", request=InferenceRequest(id="mine", inputs=[wanted]))
    report: Job = {
        "server": client.read_server_metadata().name,
        "inputs": [[one.name, one.datatype, list(one.shape)] for one in described.inputs or []],
        "id": answer.id,
        "answer": np.reshape(json.loads(answer.outputs[0].data.json()), (-1, 4)).tolist(),
    }
    try:
        client.check_model_readiness("absent")
    except Exception as error:  # noqa: BLE001  # whatever this client makes of a 404
        report["absent"] = [type(error).__name__, getattr(error, "status_code", 0)]
    return report


def main() -> None:
    job = json.load(sys.stdin)
    json.dump({"grpc": by_grpc(job), "rest": by_rest(job)}, sys.stdout)


main()
