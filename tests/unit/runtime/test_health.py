"""What a Watch tells when more happens while it tells."""

from collections.abc import Callable

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from headrace.runtime.health import NOT_SERVING, SERVING, Health


class Slow:
    """A stream whose client takes an answer only after something else has happened."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.heard: list[int] = []
        self._meanwhile = meanwhile

    async def write(self, answer: HealthCheckResponse) -> None:
        self.heard.append(answer.status)
        self._meanwhile()


async def test_an_end_while_something_is_told() -> None:
    """The end that comes while SERVING is being written is told behind it, and then the stream ends."""
    health = Health(())
    health.begin()
    stream = Slow(health.end)
    await health.Watch(HealthCheckRequest(), stream)  # type: ignore[arg-type]  # all of a context that it uses
    assert stream.heard == [SERVING, NOT_SERVING]
