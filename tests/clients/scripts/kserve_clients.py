"""Runs in an environment with `kserve` and nothing of ours: its gRPC and its REST client, and its dialect of load."""

import asyncio
import json
import sys
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient, InferenceRESTClient, RESTConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

Job = dict[str, Any]


def request(model: str, rows: list[list[float]], binary: bool) -> InferRequest:
    array = np.array(rows, np.float32)
    tensor = InferInput("x", list(array.shape), "FP32")
    tensor.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=[tensor], request_id="mine")


async def by_grpc(job: Job) -> Job:
    headers = [("authorization", "Bearer " + job["token"])]
    async with InferenceGRPCClient(job["address"]) as client:
        answer = await client.infer(request("linear", job["rows"], True), headers=headers)
        report: Job = {
            "live": await client.is_server_live(headers=headers),
            "ready": await client.is_server_ready(headers=headers),
            "model_ready": await client.is_model_ready("linear", headers=headers),
            "absent_ready": await client.is_model_ready("absent", headers=headers),
            "id": answer.id,
            "answer": answer.outputs[0].as_numpy().tolist(),
        }
        try:
            await client.infer(request("absent", job["rows"], True), headers=headers)
        except grpc.RpcError as error:
            report["absent"] = error.code().name
    return report


async def by_rest(job: Job, *, binary: bool) -> Job:
    headers = {"authorization": "Bearer " + job["token"]}
    url = "http://" + job["address"]
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    answer = await client.infer(url, request("linear", job["rows"], binary), "linear", headers=dict(headers))
    report: Job = {
        "live": await client.is_server_live(url, headers=headers),
        "ready": await client.is_server_ready(url, headers=headers),
        "model_ready": await client.is_model_ready(url, "linear", headers=headers),
        "id": answer.id,
        "answer": np.reshape(answer.outputs[0].as_numpy(), (-1, 4)).tolist(),
    }
    try:
        await client.infer(url, request("absent", job["rows"], False), "absent", headers=dict(headers))
    except httpx.HTTPStatusError as error:
        report["absent"] = str(error)
    await client.close()
    return report


async def by_first_protocol(job: Job) -> Job:
    """Version 1 of KServe's protocol, its client's default."""
    headers = {"authorization": "Bearer " + job["token"]}
    url = "http://" + job["address"]
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        answer = await client.infer(url, {"instances": job["rows"]}, "linear", headers=dict(headers))
        report: Job = {
            "ready": await client.is_model_ready(url, "linear", headers=headers),
            "answer": answer["predictions"],
        }
        for name, call in {
            "absent": client.infer(url, {"instances": job["rows"]}, "absent", headers=dict(headers)),
            "absent_ready": client.is_model_ready(url, "absent", headers=headers),
        }.items():
            try:
                report[name] = await call
            except httpx.HTTPStatusError as error:
                report[name] = str(error)
    return report


async def loaded(job: Job) -> Job:
    """The messages of KServe's own contract."""
    headers = (("authorization", "Bearer " + job["operator"]),)
    async with grpc.aio.insecure_channel(job["controlled"]) as channel:
        stub = GRPCInferenceServiceStub(channel)
        load = await stub.RepositoryModelLoad(
            pb.RepositoryModelLoadRequest(model_name=job["model"]), metadata=headers, timeout=60
        )
        ready = await stub.ModelReady(pb.ModelReadyRequest(name=job["model"]), metadata=headers, timeout=60)
        unload = await stub.RepositoryModelUnload(
            pb.RepositoryModelUnloadRequest(model_name=job["model"]), metadata=headers, timeout=60
        )
    return {
        "load": [load.model_name, load.isLoaded],
        "ready": ready.ready,
        "unload": [unload.model_name, unload.isUnloaded],
    }


async def main() -> None:
    job = json.load(sys.stdin)
    report = {
        "grpc": await by_grpc(job),
        "rest": await by_rest(job, binary=False),
        "rest_binary": await by_rest(job, binary=True),
        "first": await by_first_protocol(job),
        "loaded": await loaded(job),
    }
    json.dump(report, sys.stdout)


asyncio.run(main())
