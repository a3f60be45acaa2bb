"""Which processes there should be, and which of them answer."""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.insight.figures import Health, ProcessFigures

STALE_S = 10.0
"""So long a process that does not answer is called stale, and then down."""


@dataclass(slots=True)
class _Seen:
    service: str
    since: float
    read_at: float | None = None
    health: Health = Health.UNKNOWN

    def health_at(self, now: float) -> Health:
        """STALE becomes DOWN by itself, between two questions too."""
        silent_s = now - (self.since if self.read_at is None else self.read_at)
        return Health.DOWN if self.health is Health.STALE and silent_s >= STALE_S else self.health


class Presence:
    """Keeps what each process was like when it was asked last."""

    def __init__(self) -> None:
        self._processes: dict[str, _Seen] = {}

    def expect(self, processes: Mapping[str, str], now: float) -> list[str]:
        """Takes the services of all processes by their names; those that went."""
        gone = [name for name in self._processes if name not in processes]
        for name in gone:
            del self._processes[name]
        for name, service in processes.items():
            self._processes.setdefault(name, _Seen(service, now))
        return gone

    def answered(self, name: str, now: float) -> None:
        """The process was read."""
        seen = self._processes[name]
        seen.read_at, seen.health = now, Health.UP

    def missed(self, name: str, *, refused: bool) -> None:
        """The process refused the connection, or did not answer in time."""
        self._processes[name].health = Health.DOWN if refused else Health.STALE

    def services_up(self) -> set[str]:
        """The services of which a process answered when it was asked last."""
        return {seen.service for seen in self._processes.values() if seen.health is Health.UP}

    def up(self) -> set[str]:
        """The processes that answered when they were asked last."""
        return {name for name, seen in self._processes.items() if seen.health is Health.UP}

    def figures(self, now: float) -> tuple[ProcessFigures, ...]:
        """All of them, by name."""
        return tuple(
            ProcessFigures(
                name,
                seen.service,
                seen.health_at(now),
                None if seen.read_at is None else max(0.0, now - seen.read_at),
            )
            for name, seen in sorted(self._processes.items())
        )
