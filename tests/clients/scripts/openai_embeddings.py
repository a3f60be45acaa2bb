"""Runs in an environment with `openai` and nothing of ours."""

import asyncio
import json
import sys
from typing import Any

import openai

Job = dict[str, Any]


def refusal(call: Any) -> Job:
    try:
        call()
    except openai.APIStatusError as error:
        return {
            "class": type(error).__name__,
            "status": error.status_code,
            "param": getattr(error, "param", None),
            "code": getattr(error, "code", None),
            "type": getattr(error, "type", None),
        }
    return {}


async def concurrently(url: str, token: str, texts: list[str]) -> list[list[float]]:
    async with openai.AsyncOpenAI(base_url=url, api_key=token) as client:
        calls = [client.embeddings.create(model="minilm", input=text) for text in texts]
        return [answer.data[0].embedding for answer in await asyncio.gather(*calls)]


def main() -> None:
    job = json.load(sys.stdin)
    url = "http://" + job["address"] + "/v1"
    client = openai.OpenAI(base_url=url, api_key=job["token"], max_retries=0)
    texts = job["texts"]
    listed = client.embeddings.create(model="minilm", input=texts)
    plain = client.embeddings.create(model="minilm", input=texts, encoding_format="float")
    tokens = client.embeddings.create(model="minilm", input=job["tokens"])
    stranger = openai.OpenAI(base_url=url, api_key="nobody", max_retries=0)
    report = {
        "listed": [row.embedding for row in listed.data],
        "plain": [row.embedding for row in plain.data],
        "usage": [listed.usage.prompt_tokens, listed.usage.total_tokens],
        "tokens": [row.embedding for row in tokens.data],
        "concurrent": asyncio.run(concurrently(url, job["token"], texts)),
        "models": [model.id for model in client.models.list()],
        "model": client.models.retrieve("minilm").owned_by,
        "absent": refusal(lambda: client.embeddings.create(model="absent", input="a")),
        "empty": refusal(lambda: client.embeddings.create(model="minilm", input=["a", ""])),
        "stranger": refusal(lambda: stranger.embeddings.create(model="minilm", input="a")),
    }
    json.dump(report, sys.stdout)


main()
