"""Runs in an environment with `tritonclient[grpc]` and nothing of ours: a job on stdin, what happened on stdout."""

import asyncio
import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

Job = dict[str, Any]
Headers = dict[str, str]


def inputs_of(case: Job) -> list[Any]:
    tensors = []
    for name, tensor in case["inputs"].items():
        array = np.array(tensor["data"], dtype=triton_to_np_dtype(tensor["datatype"]))
        wanted = triton.InferInput(name, list(array.shape), tensor["datatype"])
        wanted.set_data_from_numpy(array)
        tensors.append(wanted)
    return tensors


def arrays_of(result: Any) -> Job:
    return {output.name: result.as_numpy(output.name).tolist() for output in result.get_response().outputs}


def answer(client: Any, case: Job, headers: Headers) -> Job:
    try:
        result = client.infer(case["model"], inputs_of(case), headers=headers, request_id=case["model"])
    except InferenceServerException as error:
        return {"error": error.message(), "status": error.status()}
    return {"id": result.get_response().id, "outputs": arrays_of(result)}


async def answer_concurrently(job: Job, headers: Headers) -> list[Job]:
    async with triton_aio.InferenceServerClient(job["address"]) as client:
        calls = [client.infer(case["model"], inputs_of(case), headers=headers) for case in job["concurrent"]]
        return [arrays_of(result) for result in await asyncio.gather(*calls)]


def main() -> None:
    job = json.load(sys.stdin)
    headers = {"authorization": "Bearer " + job["token"]}
    client = triton.InferenceServerClient(job["address"])
    models = sorted({case["model"] for case in job["cases"] if case.get("known", True)})
    metadata = {m: client.get_model_metadata(m, headers=headers, as_json=True) for m in models}
    report = {
        "live": client.is_server_live(headers=headers),
        "ready": client.is_server_ready(headers=headers),
        "server": client.get_server_metadata(headers=headers, as_json=True),
        "models_ready": {m: client.is_model_ready(m, headers=headers) for m in models},
        "metadata": metadata,
        "config": {m: client.get_model_config(m, headers=headers, as_json=True) for m in models},
        "index": client.get_model_repository_index(headers=headers, as_json=True),
        "answers": [answer(client, case, headers) for case in job["cases"]],
        "concurrent": asyncio.run(answer_concurrently(job, headers)),
        "statistics": client.get_inference_statistics("linear", headers=headers, as_json=True),
    }
    client.close()
    json.dump(report, sys.stdout)


main()
