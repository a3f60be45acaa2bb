"""`headrace chaos`: its arguments. What it does is in `chaos.py`, imported when it runs."""

# ruff: noqa: FBT002, PLC0415
# FBT002: typer passes options by name; PLC0415: `--help` needs no gRPC.

from typing import Annotated

import typer

from headrace.cli.options import STATE_DIR, JsonOption, StateDirOption
from headrace.cli.output import Output

VictimArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A process, or a service for any one of its processes.")
]
LoadOption = Annotated[
    int,
    typer.Option("--load", min=0, max=2000, help="Calls of `linear` a second meanwhile; they cost as any."),
]

chaos_app = typer.Typer(help="Break a process of the mesh, and watch it come back.", no_args_is_help=True)


@chaos_app.command("kill")
def chaos_kill(
    name: VictimArgument,
    load: LoadOption = 0,
    state_dir: StateDirOption = STATE_DIR,
    as_json: JsonOption = False,
) -> None:
    """Kill -9 a process, and wait until it is back."""
    from headrace.cli import chaos as command

    command.chaos(command.Fault(name, None, load), state_dir, Output(as_json=as_json))


@chaos_app.command("stop")
def chaos_stop(
    name: VictimArgument,
    lasts_s: Annotated[
        float,
        typer.Option("--for", min=0.1, max=25, help="Seconds; after 30 the supervisor would kill it."),
    ] = 3.0,
    load: LoadOption = 0,
    state_dir: StateDirOption = STATE_DIR,
    as_json: JsonOption = False,
) -> None:
    """Hold a process as if it hung, let it go on, and wait until it answers."""
    from headrace.cli import chaos as command

    command.chaos(command.Fault(name, lasts_s, load), state_dir, Output(as_json=as_json))
