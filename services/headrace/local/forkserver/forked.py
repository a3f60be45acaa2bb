"""A process that another one forked for us."""

import asyncio
import contextlib
import os
import signal

from headrace.local.child import group_ended


class Forked:
    """A child of this process, known by a descriptor: it is never mistaken for a later one of its pid."""

    def __init__(self, pid: int) -> None:
        """Raises OSError when `pid` is no child of ours that still runs."""
        self._pid = pid
        self._descriptor = os.pidfd_open(pid)
        try:
            os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except OSError:
            os.close(self._descriptor)
            raise
        self._loop = asyncio.get_running_loop()
        self._status: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(self._descriptor, self._ended)

    @property
    def pid(self) -> int:
        return self._pid

    async def wait(self) -> int:
        status = await asyncio.shield(self._status)
        await group_ended(self._pid)
        return status

    def send(self, number: signal.Signals) -> None:
        if not self._status.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def kill_group(self) -> None:
        # Until it is waited for, its pid can't be another's, nor its group.
        if not self._status.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)

    def _ended(self) -> None:
        self._loop.remove_reader(self._descriptor)
        status = -int(signal.SIGKILL)  # one that was ended with the fork server, before it was a service
        with contextlib.suppress(ChildProcessError):
            found = os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED)
            if found is not None:
                status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        os.close(self._descriptor)
        self._status.set_result(status)
