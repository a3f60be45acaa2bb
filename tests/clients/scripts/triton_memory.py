"""Runs in an environment with `tritonclient` and nothing of ours: tensors in shared memory, by gRPC or by HTTP."""

import importlib
import json
import sys
import uuid
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException, shared_memory

Job = dict[str, Any]


def refusal(call: Any) -> str:
    try:
        call()
    except InferenceServerException as error:
        return str(error)
    return ""


def infer(triton: Any, client: Any, headers: Job, rows: np.ndarray[Any, Any], region: Any) -> list[Any]:
    """Input at the begin of the region, output behind it."""
    shared_memory.set_shared_memory_region(region, [rows])
    tensor = triton.InferInput("x", list(rows.shape), "FP32")
    tensor.set_shared_memory("region", rows.nbytes)
    output = triton.InferRequestedOutput("y")
    output.set_shared_memory("region", len(rows) * 16, offset=rows.nbytes)
    result = client.infer("linear", [tensor], outputs=[output], headers=headers)
    told = result.get_output("y")
    shape = list(told["shape"] if isinstance(told, dict) else told.shape)
    found = shared_memory.get_contents_as_numpy(region, np.float32, shape, offset=rows.nbytes)
    return found.tolist()


def main() -> None:
    job = json.load(sys.stdin)
    triton = importlib.import_module("tritonclient." + job["kind"])
    headers = {"authorization": "Bearer " + job["token"]}
    client = triton.InferenceServerClient(job["address"])
    rows = np.array(job["rows"], np.float32)
    key = "/headrace-test-" + uuid.uuid4().hex
    region = shared_memory.create_shared_memory_region("region", key, 4096)
    report: Job = {"absent": refusal(lambda: infer(triton, client, headers, rows, region))}
    try:
        client.register_system_shared_memory("region", key, 4096, headers=headers)
        status = client.get_system_shared_memory_status(headers=headers)
        regions = status if isinstance(status, list) else list(status.regions.values())
        report["status"] = [one["name"] if isinstance(one, dict) else one.name for one in regions]
        # More often than there are replicas: each of them is asked.
        report["answers"] = [infer(triton, client, headers, rows + n, region) for n in range(6)]
        client.unregister_system_shared_memory("region", headers=headers)
        report["gone"] = refusal(lambda: infer(triton, client, headers, rows, region))
    finally:
        del status, regions
        shared_memory.destroy_shared_memory_region(region)
    json.dump(report, sys.stdout)


main()
