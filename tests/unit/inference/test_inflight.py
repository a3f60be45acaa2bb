"""The requests of one stream: how many are read, in which order answers leave, how it ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from headrace.inference.inflight import InFlight
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest


class Model:
    """Answers when it is told to; notes who came and who was cancelled."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self._gates: dict[int, asyncio.Event] = {}

    async def answer(self, request: ModelInferRequest, number: int) -> bytes:
        self.begun.append(number)
        try:
            await self.gate(number).wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        if request.model_name == "failing":
            raise RuntimeError("broken")
        return b"%d" % number

    def gate(self, number: int) -> asyncio.Event:
        return self._gates.setdefault(number, asyncio.Event())


async def requests(count: int, *, ids: bool = True, name: str = "") -> AsyncIterator[ModelInferRequest]:
    for number in range(count):
        yield ModelInferRequest(id=str(number + 1) if ids else "", model_name=name)


async def turns(count: int = 20) -> None:
    """Lets everything happen that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_more_are_read_than_may_be_in_flight() -> None:
    """An answer that was made and has not left counts too: a client that does not read is not read from."""
    model = Model()
    stream = InFlight(requests(5), model.answer, 2)
    await turns()
    assert model.begun == [0, 1]
    for number in range(5):
        model.gate(number).set()
    await turns()
    assert model.begun == [0, 1]
    assert await stream.next() == b"0"
    stream.sent()
    await turns()
    assert model.begun == [0, 1, 2]
    found = []
    while (answer := await stream.next()) is not None:
        found.append(answer)
        stream.sent()
    assert found == [b"1", b"2", b"3", b"4"]
    await stream.close()


@pytest.mark.parametrize(("ids", "order"), [(True, [b"2", b"0", b"1"]), (False, [b"0", b"1", b"2"])])
async def test_an_id_lets_an_answer_leave_before_others(ids: bool, order: list[bytes]) -> None:
    """Without ids the order is all that tells answers apart."""
    model = Model()
    stream = InFlight(requests(3, ids=ids), model.answer, 8)
    for number in (2, 0, 1):
        model.gate(number).set()
        await turns()
    assert [await stream.next() for _ in range(3)] == order
    assert await stream.next() is None
    await stream.close()


async def test_closing_cancels_all_and_waits_for_it() -> None:
    """Nothing of a stream is left behind it."""
    model = Model()
    stream = InFlight(requests(4), model.answer, 3)
    await turns()
    await stream.close()
    assert sorted(model.cancelled) == [0, 1, 2]


async def test_stopping_answers_what_was_read() -> None:
    """And reads no more."""
    model = Model()
    stream = InFlight(requests(9), model.answer, 2)
    await turns()
    stream.stop()
    await turns()
    for number in (0, 1):
        model.gate(number).set()
    assert [await stream.next(), await stream.next(), await stream.next()] == [b"0", b"1", None]
    assert model.begun == [0, 1]
    await stream.close()


async def test_what_a_request_raises_ends_the_stream() -> None:
    """So does a source that fails; nobody waits for ever."""
    model = Model()
    stream = InFlight(requests(1, name="failing"), model.answer, 2)
    model.gate(0).set()
    with pytest.raises(RuntimeError, match="broken"):
        await stream.next()
    await stream.close()

    model.gate(0).clear()

    async def broken() -> AsyncIterator[ModelInferRequest]:
        yield ModelInferRequest(id="a", model_name="slow")
        raise ValueError("no request")

    other = InFlight(broken(), model.answer, 2)
    with pytest.raises(ValueError, match="no request"):
        await other.next()
    await other.close()
