"""The last minutes of the totals, and what they grew by within a window.

Bounded: so many frames, each a packed row of numbers.
"""

from array import array
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Frame:
    """The totals at `at` seconds of the monotonic clock, and the services that had been read."""

    at: float
    time_ns: int
    values: "array[float]"
    services: frozenset[str]


@dataclass(frozen=True, slots=True)
class Window:
    """Two frames between which a service was read throughout."""

    first: Frame
    last: Frame

    @property
    def seconds(self) -> float:
        return self.last.at - self.first.at

    def growth(self, place: int | None) -> float:
        """By how much the total at `place` grew; what was not there yet was zero."""
        if place is None or place >= len(self.last.values):
            return 0.0
        before = self.first.values[place] if place < len(self.first.values) else 0.0
        return self.last.values[place] - before

    def rate(self, place: int | None) -> float:
        """The growth per second."""
        return self.growth(place) / self.seconds


class History:
    """The newest `frames` frames."""

    def __init__(self, frames: int) -> None:
        self._frames: deque[Frame] = deque(maxlen=frames)

    def push(self, at: float, time_ns: int, values: Sequence[float], services: Collection[str]) -> None:
        """Adds a frame; `at` only grows."""
        self._frames.append(Frame(at, time_ns, array("d", values), frozenset(services)))

    @property
    def newest(self) -> Frame | None:
        """The last frame that was added."""
        return self._frames[-1] if self._frames else None

    def window(self, service: str, seconds: float) -> Window | None:
        """The longest window up to now of at most `seconds` in which the service was read at every frame.

        None when that is not even two frames: the service does not answer, or
        has only begun to.
        """
        return self._back_from(len(self._frames) - 1, service, seconds)

    def windows(self, service: str, seconds: float) -> list[tuple[Frame, Window | None]]:
        """The whole history in windows that meet, oldest first; each with its last frame."""
        found: list[tuple[Frame, Window | None]] = []
        end = len(self._frames) - 1
        while end > 0:
            start = end - 1
            while start > 0 and self._frames[end].at - self._frames[start - 1].at <= seconds:
                start -= 1
            found.append((self._frames[end], self._back_from(end, service, seconds)))
            end = start
        return found[::-1]

    def _back_from(self, end: int, service: str, seconds: float) -> Window | None:
        if end < 0 or service not in self._frames[end].services:
            return None
        last = first = self._frames[end]
        for number in range(end - 1, -1, -1):
            frame = self._frames[number]
            if service not in frame.services or last.at - frame.at > seconds:
                break
            first = frame
        return Window(first, last) if first is not last else None
