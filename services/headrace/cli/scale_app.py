"""The arguments of `headrace scale`; what it does is in `scale.py`."""

# ruff: noqa: FBT002, PLC0415
# FBT002: typer passes options by name; PLC0415: `--help` needs no gRPC.

from typing import Annotated

import typer

from headrace.cli.options import STATE_DIR, JsonOption, StateDirOption
from headrace.cli.output import Output

scale_app = typer.Typer(help="How many replicas there are.", no_args_is_help=True)


@scale_app.command("status")
def scale_status(state_dir: StateDirOption = STATE_DIR, as_json: JsonOption = False) -> None:
    """Show what runs, what should run, and why."""
    from headrace.cli import scale as command

    command.status(state_dir, Output(as_json=as_json))


@scale_app.command("set")
def scale_set(
    replicas: Annotated[
        int, typer.Argument(min=1, max=64, metavar="N", help="Within scaling.min and scaling.max.")
    ],
    state_dir: StateDirOption = STATE_DIR,
    as_json: JsonOption = False,
) -> None:
    """Have N replicas until `scale auto`, and wait for them."""
    from headrace.cli import scale as command

    command.pin(state_dir, replicas, Output(as_json=as_json))


@scale_app.command("auto")
def scale_auto(state_dir: StateDirOption = STATE_DIR, as_json: JsonOption = False) -> None:
    """Leave the number of replicas to the policy."""
    from headrace.cli import scale as command

    command.auto(state_dir, Output(as_json=as_json))


@scale_app.command("history")
def scale_history(
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many decisions.")] = 20,
    state_dir: StateDirOption = STATE_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show the last decisions and what they were made from."""
    from headrace.cli import scale as command

    command.history(state_dir, limit, Output(as_json=as_json))
