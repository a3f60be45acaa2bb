"""Runs in an environment with `tritonclient[grpc]` and nothing of ours: streams, and models loaded and unloaded."""

import asyncio
import json
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

Job = dict[str, Any]
Headers = dict[str, str]


def tensor(number: float) -> list[Any]:
    array = np.array([[number, 0.0]], np.float32)
    wanted = triton.InferInput("x", [1, 2], "FP32")
    wanted.set_data_from_numpy(array)
    return [wanted]


def first(result: Any) -> float:
    return float(result.as_numpy("y")[0][0])


def stream(client: Any, model: str, headers: Headers) -> Job:
    """Fifty requests on one stream, one of them for a model that does not exist."""
    told: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(callback=lambda result, error: told.put((result, error)), headers=headers)
    for number in range(50):
        name = "absent" if number == 7 else model
        client.async_stream_infer(name, tensor(number), request_id=str(number))
    answers, errors = {}, []
    for _ in range(50):
        result, error = told.get(timeout=60)
        if error is not None:
            errors.append(error.message())
        else:
            answers[result.get_response().id] = first(result)
    client.stop_stream()
    return {"answers": answers, "errors": errors}


async def stream_aio(address: str, model: str, headers: Headers) -> Job:
    async def requests() -> Any:
        for number in range(50):
            name = "absent" if number == 7 else model
            yield {"model_name": name, "inputs": tensor(number), "request_id": str(number)}

    answers, errors = {}, []
    async with triton_aio.InferenceServerClient(address) as client:
        async for result, error in client.stream_infer(requests(), headers=headers):
            if error is not None:
                errors.append(error.message())
            else:
                answers[result.get_response().id] = first(result)
    return {"answers": answers, "errors": errors}


def refusal(call: Any) -> Job:
    try:
        call()
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}
    return {}


def main() -> None:
    job = json.load(sys.stdin)
    model, headers = job["model"], {"authorization": "Bearer " + job["token"]}
    client = triton.InferenceServerClient(job["address"])
    report: Job = {"before": client.is_model_ready(model, headers=headers)}
    client.load_model(model, headers=headers, config=json.dumps({"max_batch_size": 7}))
    report["loaded"] = client.is_model_ready(model, headers=headers)
    report["config"] = client.get_model_config(model, headers=headers, as_json=True)["config"]
    report["answer"] = first(client.infer(model, tensor(2.0), headers=headers))
    report["stream"] = stream(client, model, headers)
    report["stream_aio"] = asyncio.run(stream_aio(job["address"], model, headers))
    report["index"] = client.get_model_repository_index(headers=headers, as_json=True)["models"]
    report["log"] = client.update_log_settings({"log_verbose_level": 0}, headers=headers, as_json=True)
    report["trace"] = client.get_trace_settings(headers=headers, as_json=True)
    report["memory"] = client.get_system_shared_memory_status(headers=headers, as_json=True)
    report["register"] = refusal(lambda: client.register_system_shared_memory("r", "/r", 8, headers=headers))
    client.unregister_system_shared_memory(headers=headers)
    client.unload_model(model, headers=headers)
    report["unloaded"] = client.is_model_ready(model, headers=headers)
    report["outside"] = refusal(lambda: client.load_model("../etc", headers=headers))
    client.close()
    json.dump(report, sys.stdout)


main()
