"""What a service finds when it begins, told as one line of JSON; then it waits for SIGTERM and ends with 7."""

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import numpy as np

CODE = 7
PR_GET_PDEATHSIG = 2


def _dies_by() -> int:
    number = ctypes.c_int()
    ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(number))
    return number.value


def main() -> int:
    """Its exit code."""
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    if "LEAVES" in os.environ:
        subprocess.Popen(["sleep", "600"])
    descriptors = [path.name for path in Path("/proc/self/fd").iterdir() if path.exists()]
    facts = {
        "argv": sys.argv,
        "orig_argv": sys.orig_argv,
        "environ": dict(os.environ),
        "descriptors": {name: str(Path(f"/proc/self/fd/{name}").readlink()) for name in descriptors},
        "parent": os.getppid(),
        "group": os.getpgrp(),
        "session": os.getsid(0),
        "dies_by": _dies_by(),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "drawn": [random.random(), float(np.random.default_rng().random()), uuid.uuid4().hex],
        "main": __name__,
    }
    print(json.dumps(facts), flush=True)
    asked.wait()
    return CODE


if __name__ == "__main__":
    sys.exit(main())
