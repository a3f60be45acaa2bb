"""headrace.inference.v1.OpenAiService: decode, call, encode. Errors get OpenAI's form at the gateway."""

import asyncio

from google.api.httpbody_pb2 import HttpBody

from headrace.inference.embeddings import Wanted, described, makes_embeddings, tokens_of, wanted, written
from headrace.inference.errors import model_not_ready
from headrace.inference.models import Models
from headrace.inference.parts import part_of, told_of
from headrace.inference.rest_servicer import JSON, json_body
from headrace.inference.shared_memory import Inferring
from headrace.inference.v1 import open_ai_service_pb2 as pb
from headrace.runtime.access import INFER
from headrace.runtime.clock import Clock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call

SERVICE = pb.DESCRIPTOR.services_by_name["OpenAiService"]
SCOPES = {f"/{SERVICE.full_name}/{method.name}": INFER for method in SERVICE.methods}

AT_ONCE = 4
"""Of one body's requests: more would only wait before those of others."""


class OpenAiServicer:
    """Decode, call, encode."""

    def __init__(self, models: Models, service: Inferring, clock: Clock) -> None:
        self._models = models
        self._service = service
        self._clock = clock

    async def CreateEmbeddings(self, request: pb.CreateEmbeddingsRequest, call: Call) -> HttpBody:
        asked = wanted(request.body.data, self._models)
        model = self._models.find(asked.model, "")
        counted = asked.tokens or await asyncio.to_thread(tokens_of, model, asked.texts)
        answers = await self._answers(asked, call)
        call.initial += call.trailing
        call.trailing.clear()
        data = await asyncio.to_thread(written, asked, answers, counted)
        return HttpBody(content_type=JSON, data=data)

    async def ListModels(self, request: pb.ListModelsRequest, call: Call) -> HttpBody:
        names = {model.name for model in self._models.all() if makes_embeddings(model)}
        found = [described(self._models.find(name, "")) for name in sorted(names)]
        # OpenAI's clients read `data`; KServe's first protocol has `models` here, which are all.
        return json_body(
            {"object": "list", "data": found, "models": sorted({model.name for model in self._models.all()})}
        )

    async def GetModel(self, request: pb.GetModelRequest, call: Call) -> HttpBody:
        model = self._models.find(request.model, "")
        if model.runs.stalled(call.arrived):
            raise model_not_ready(model.name, "STALLED")
        # KServe's first protocol asks here whether any model is ready.
        ready = {"name": model.name, "ready": True}
        return json_body({**described(model), **ready} if makes_embeddings(model) else ready)

    async def _answers(self, asked: Wanted, call: Call) -> list[bytes]:
        """Of the body's requests in their order, or the first error; the others are cancelled then."""
        if len(asked.requests) == 1:
            return [await self._service.infer(asked.requests[0], call, lambda done: done.encoded(""))]
        places = asyncio.Semaphore(AT_ONCE)
        now = self._clock.monotonic()
        parts = [part_of(call, n, now, request.ByteSize()) for n, request in enumerate(asked.requests)]

        async def answer(number: int) -> bytes:
            async with places:
                return await self._service.infer(
                    asked.requests[number], parts[number], lambda done: done.encoded("")
                )

        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(answer(number)) for number in range(len(asked.requests))]
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            call.progress = parts[0].progress  # what is recorded of the call
        call.trailing += told_of(parts)
        return [task.result() for task in running]


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to answer with: one that the caller may be told, if there is one."""
    told, others = group.split(HeadraceError)
    return (told or others or group).exceptions[0]
