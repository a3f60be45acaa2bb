"""`python -m headrace.local.demo REPOSITORY`: lays out the demo models, in a process of its own.

Building them takes a gigabyte for a moment, which the supervisor must not keep.
Answers with one JSON document on stdout: {"models", "built", "missing", "install"}.
"""

import json
import sys
from pathlib import Path

from headrace.inference.demo import INSTALL_COMMAND, lay_out

if __name__ == "__main__":
    layout = lay_out(Path(sys.argv[1]))
    document = {
        "models": layout.models,
        "built": layout.built,
        "missing": layout.missing,
        "install": INSTALL_COMMAND,
    }
    sys.stdout.write(json.dumps(document) + "\n")
