"""Runs in an environment with `tritonclient[http]` and nothing of ours: a job on stdin, what happened on stdout."""

import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

Job = dict[str, Any]
Headers = dict[str, str]


def answer(client: Any, case: Job, headers: Headers, metadata: Job, binary: bool) -> Job:
    inputs = []
    for name, tensor in case["inputs"].items():
        array = np.array(tensor["data"], dtype=triton_to_np_dtype(tensor["datatype"]))
        wanted = triton.InferInput(name, list(array.shape), tensor["datatype"])
        wanted.set_data_from_numpy(array, binary_data=binary)
        inputs.append(wanted)
    names = [output["name"] for output in metadata.get(case["model"], {"outputs": []})["outputs"]]
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    try:
        result = client.infer(
            case["model"], inputs, outputs=outputs, headers=headers, request_id=case["model"]
        )
    except InferenceServerException as error:
        return {"error": error.message(), "status": error.status()}
    arrays = {name: result.as_numpy(name).tolist() for name in names}
    return {"id": result.get_response().get("id"), "outputs": arrays}


def main() -> None:
    job = json.load(sys.stdin)
    headers = {"authorization": "Bearer " + job["token"]}
    client = triton.InferenceServerClient(job["address"], concurrency=2)
    models = sorted({case["model"] for case in job["cases"] if case.get("known", True)})
    metadata = {m: client.get_model_metadata(m, headers=headers) for m in models}
    report = {
        "live": client.is_server_live(headers=headers),
        "ready": client.is_server_ready(headers=headers),
        "server": client.get_server_metadata(headers=headers),
        "models_ready": {m: client.is_model_ready(m, headers=headers) for m in models},
        "metadata": metadata,
        "json": [answer(client, case, headers, metadata, False) for case in job["cases"]],
        "binary": [answer(client, case, headers, metadata, True) for case in job["cases"]],
    }
    client.close()
    json.dump(report, sys.stdout)


main()
