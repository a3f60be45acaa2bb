"""The `headrace` command: its arguments. What a command does is in its own module.

Those modules are imported when their command runs, so that `--help` needs
neither gRPC nor numpy.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from headrace.cli.errors import CliError
from headrace.cli.output import Output

StateDirOption = Annotated[
    Path, typer.Option("--state-dir", help="Where the mesh keeps its state.", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
STATE_DIR = Path(".headrace")

app = typer.Typer(
    name="headrace",
    help="Runs an inference mesh on this machine and asks it things.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
keys_app = typer.Typer(help="API keys: signed tokens for tenants.", no_args_is_help=True)
config_app = typer.Typer(help="headrace.yaml.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
app.add_typer(config_app, name="config")


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready.")] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The gateway's port; 0: free ports for everything.")
    ] = None,
    replicas: Annotated[int | None, typer.Option(min=1, max=64, help="Inference replicas.")] = None,
    config: Annotated[Path | None, typer.Option(help="Default: headrace.yaml, if there is one.")] = None,
    state_dir: StateDirOption = STATE_DIR,
    as_json: JsonOption = False,
) -> None:
    """Start the mesh: gateway, inference replicas, insight."""
    from headrace.cli import up as command
    from headrace.cli.mesh import state_of

    found = config or (command.DEFAULT_CONFIG if command.DEFAULT_CONFIG.exists() else None)
    request = command.Request(state_of(state_dir), found, port, replicas, detach)
    command.up(request, os.environ, Output(as_json=as_json))  # noqa: TID251  # what the processes inherit


@app.command()
def down(state_dir: StateDirOption = STATE_DIR, as_json: JsonOption = False) -> None:
    """Stop the mesh and everything that belongs to it."""
    from headrace.cli import up as command
    from headrace.cli.mesh import state_of

    command.down(state_of(state_dir), Output(as_json=as_json))


@app.command()
def status(state_dir: StateDirOption = STATE_DIR, as_json: JsonOption = False) -> None:
    """Show every process of the mesh."""
    from headrace.cli.status import status as command

    command(state_dir, Output(as_json=as_json))


def main() -> NoReturn:
    """Exit codes: 0 ok, 1 failed, 2 usage."""
    try:
        app()
    except CliError as error:
        Output(as_json="--json" in sys.argv).failed(error)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1)
