"""The end of a mesh: asked for once, by a signal or by a call, and waited for."""

import asyncio


class Shutdown:
    """Two moments: somebody asked for the end, and all processes are gone."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._gone = asyncio.Event()

    @property
    def asked(self) -> bool:
        """Whether the end has begun."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Begins the end."""
        self._asked.set()

    def done(self) -> None:
        """All processes are gone."""
        self._gone.set()

    async def wait_asked(self) -> None:
        """Waits until somebody asks for the end."""
        await self._asked.wait()

    async def ask_and_wait(self) -> None:
        """Begins the end, and waits until all processes are gone."""
        self.ask()
        await self._gone.wait()
