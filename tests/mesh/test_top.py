"""`headrace top` on a terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

from tests.support.mesh import Mesh, environment, headrace_command

pytestmark = pytest.mark.mesh

WITHIN_S = 30.0
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")


def read_until(terminal: int, found: str, shown: str = "") -> str:
    """What the terminal shows until `found` is among it, or it is closed."""
    end = time.monotonic() + WITHIN_S
    while found not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                shown += os.read(terminal, 65_536).decode(errors="replace")
            except OSError:  # the other end is closed
                break
    return shown


@pytest.mark.parametrize("no_color", ["", "1"])
def test_it_is_live_until_ctrl_c(mesh: Mesh, no_color: str) -> None:
    """It takes the screen, renews it, gives it back and ends well; NO_COLOR is honoured."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(part) for part in headrace_command("top", "--state-dir", mesh.state_dir)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment({"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40", "NO_COLOR": no_color}),
        start_new_session=True,
    )
    os.close(theirs)
    try:
        shown = read_until(ours, "linear")
        again = read_until(ours, "linear")
        process.send_signal(signal.SIGINT)  # what the terminal makes of Ctrl-C
        rest = read_until(ours, LEAVE)
        assert process.wait(WITHIN_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert ENTER in shown
    assert "linear" in again
    assert LEAVE in rest
    assert "Traceback" not in shown + rest
    assert bool(COLOUR.search(shown)) == (not no_color)
