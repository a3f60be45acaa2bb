"""Runs in an environment with `tritonclient[http]` and nothing of ours: the repository and the settings over HTTP."""

import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

Job = dict[str, Any]


def tensor(number: float) -> list[Any]:
    wanted = triton.InferInput("x", [1, 2], "FP32")
    wanted.set_data_from_numpy(np.array([[number, 0.0]], np.float32))
    return [wanted]


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
    report["config"] = client.get_model_config(model, headers=headers)
    report["answer"] = client.infer(model, tensor(2.0), headers=headers).as_numpy("y").tolist()
    report["statistics"] = client.get_inference_statistics(model, headers=headers)["model_stats"]
    report["all"] = [row["name"] for row in client.get_inference_statistics(headers=headers)["model_stats"]]
    report["index"] = client.get_model_repository_index(headers=headers)
    report["log"] = client.update_log_settings({"log_verbose_level": 0}, headers=headers)
    report["trace"] = client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}, headers=headers)
    report["memory"] = client.get_system_shared_memory_status(headers=headers)
    report["register"] = refusal(lambda: client.register_system_shared_memory("r", "/r", 8, headers=headers))
    client.unregister_system_shared_memory(headers=headers)
    client.unload_model(model, headers=headers)
    report["unloaded"] = client.is_model_ready(model, headers=headers)
    report["file"] = refusal(
        lambda: client.load_model(model, headers=headers, config="{}", files={"file:1/model.onnx": b"x"})
    )
    client.close()
    json.dump(report, sys.stdout)


main()
