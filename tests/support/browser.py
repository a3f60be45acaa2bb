"""A headless Chromium out of npm's registry, driven by a script in Node: nothing to install by hand.

The package brings the browser itself, for x86-64 Linux, and its fonts; it
unpacks them into the folder that it calls temporary, once.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.commands import output_of
from tests.support.mesh import environment
from tests.support.node import node

PACKAGES = ("@sparticuz/chromium@147.0.0", "puppeteer-core@24.43.1")
SCRIPT_S = 100.0


def browse(script: Path, arguments: Mapping[str, object], profile: Path) -> dict[str, Any]:
    """What the script saw; it is given the arguments, and the browser a profile of its own."""
    found = node()
    folder = found.with_packages(*PACKAGES)
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    # Modules are looked for beside the script.
    copied = folder / script.name
    copied.write_text(script.read_text())
    document: dict[str, Any] = json.loads(
        output_of(
            [found.node, copied, json.dumps({**arguments, "profile": str(profile)})],
            env=environment({"TMPDIR": str(temporary)}),
            timeout_s=SCRIPT_S,
            cwd=folder,
        ).splitlines()[-1]
    )
    return document
