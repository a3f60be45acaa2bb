"""Options that every command takes."""

from pathlib import Path
from typing import Annotated

import typer

StateDirOption = Annotated[
    Path, typer.Option("--state-dir", help="Where the mesh keeps its state.", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
STATE_DIR = Path(".headrace")
