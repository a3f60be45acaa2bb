"""The `headrace` command: its arguments. What a command does is in its own module.

Those modules are imported when their command runs, so that `--help` needs
neither gRPC nor numpy.
"""

# ruff: noqa: FBT002, PLC0415
# FBT002: typer passes options by name; PLC0415: see above.

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from headrace.cli.chaos_app import chaos_app
from headrace.cli.errors import CliError
from headrace.cli.options import STATE_DIR, JsonOption, StateDirOption
from headrace.cli.output import Output
from headrace.cli.scale_app import scale_app

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
models_app = typer.Typer(help="List the models and their inputs; load and unload them.")
app.add_typer(keys_app, name="keys")
app.add_typer(models_app, name="models")
app.add_typer(config_app, name="config")
app.add_typer(scale_app, name="scale")
app.add_typer(chaos_app, name="chaos")


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
    """Start the mesh: gateway, inference replicas, cache, guard, metering, scaling, insight."""
    from headrace.cli import up as command
    from headrace.cli.mesh import state_of

    found = command.configuration(config)
    request = command.Request(state_of(state_dir), found, port, replicas, detach)
    command.up(request, os.environ, Output(as_json=as_json))  # what the processes inherit


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


@models_app.callback(invoke_without_command=True)
def models(
    context: typer.Context, state_dir: StateDirOption = STATE_DIR, as_json: JsonOption = False
) -> None:
    """List the models and their inputs; load and unload them."""
    from headrace.cli.models import models as command

    if context.invoked_subcommand is None:
        command(state_dir, Output(as_json=as_json))


@models_app.command("explain")
def models_explain(
    name: Annotated[str, typer.Argument(help="See `headrace models`.")],
    batches: Annotated[int, typer.Option(min=1, max=64, help="How many of the last ones.")] = 20,
    state_dir: StateDirOption = STATE_DIR,
    as_json: JsonOption = False,
) -> None:
    """Tell why a model's requests are batched as they are, on each replica."""
    from headrace.cli.explain import explain

    explain(name, batches, state_dir, Output(as_json=as_json))


@models_app.command("load")
def models_load(
    name: Annotated[str, typer.Argument(help="A folder of the repository.")],
    config: Annotated[
        Path | None, typer.Option(help="A file of JSON in place of the folder's config.pbtxt.")
    ] = None,
    state_dir: StateDirOption = STATE_DIR,
    as_json: JsonOption = False,
) -> None:
    """Load or reload a model on every replica (inference.model_control: explicit)."""
    from headrace.cli.models import load

    load(name, config, state_dir, Output(as_json=as_json))


@models_app.command("unload")
def models_unload(
    name: Annotated[str, typer.Argument(help="See `headrace models`.")],
    dependents: Annotated[
        bool, typer.Option("--dependents", help="And the models of an ensemble's steps.")
    ] = False,
    state_dir: StateDirOption = STATE_DIR,
    as_json: JsonOption = False,
) -> None:
    """Unload a model on every replica; what it is working on is answered."""
    from headrace.cli.models import unload

    unload(name, state_dir, Output(as_json=as_json), dependents=dependents)


@app.command()
def infer(
    model: Annotated[str, typer.Argument(help="See `headrace models`.")],
    text: Annotated[list[str] | None, typer.Option(help="A text; again for more rows.")] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="NAME=@file.npy, NAME=@file.json or NAME=[1, 2].")
    ] = None,
    rest: Annotated[bool, typer.Option("--rest", help="By REST instead of gRPC.")] = False,
    state_dir: StateDirOption = STATE_DIR,
    as_json: JsonOption = False,
) -> None:
    """Send one request through the gateway."""
    from headrace.cli import infer as command

    if not text and not inputs:
        raise typer.BadParameter("give --text or --input", param_hint="--text")
    request = command.Request(state_dir, model, text or [], inputs or [], rest)
    command.infer(request, Output(as_json=as_json))


@app.command()
def trace(
    which: Annotated[str, typer.Argument(help='"last", or the identifier of a trace or a request.')] = "last",
    state_dir: StateDirOption = STATE_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show where the time of a request went."""
    from headrace.cli.trace import trace as command

    command(which, state_dir, Output(as_json=as_json))


@app.command()
def top(
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    web: Annotated[bool, typer.Option("--web", help="A link to the web page, good once.")] = False,
    state_dir: StateDirOption = STATE_DIR,
    as_json: JsonOption = False,
) -> None:
    """Watch rates, latencies, batches, caches, breakers and cost."""
    from headrace.cli import top as command

    output = Output(as_json=as_json)
    if web:
        command.link(state_dir, output)
    else:
        command.top(state_dir, once=once, output=output)


@app.command()
def cost(
    by: Annotated[str, typer.Option(help="tenant, model or both.")] = "tenant,model",
    since: Annotated[str | None, typer.Option(help="As 90s, 15m, 1h or 7d; default: all time.")] = None,
    edge: Annotated[
        bool, typer.Option("--edge", help="What the gateway saw, refusals too, beside the ledger.")
    ] = False,
    state_dir: StateDirOption = STATE_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show who pays what for which model."""
    if edge:
        from headrace.cli.edge import edge as command
    else:
        from headrace.cli.cost import cost as command

    command(by, since, state_dir, Output(as_json=as_json))


@app.command()
def limits(state_dir: StateDirOption = STATE_DIR, as_json: JsonOption = False) -> None:
    """Show what each tenant may do, and what is left of it."""
    from headrace.cli.limits import limits as command

    command(state_dir, Output(as_json=as_json))


@app.command()
def breakers(state_dir: StateDirOption = STATE_DIR, as_json: JsonOption = False) -> None:
    """Show which models are left alone because they fail."""
    from headrace.cli.limits import breakers as command

    command(state_dir, Output(as_json=as_json))


@keys_app.command("create")
def keys_create(
    tenant: Annotated[str, typer.Option(help="Whose requests these are.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="infer, observe or operate; again for more.")
    ] = None,
    days: Annotated[float, typer.Option(min=0.0001, max=3650, help="How long it is good.")] = 90.0,
    state_dir: StateDirOption = STATE_DIR,
    as_json: JsonOption = False,
) -> None:
    """Issue a token, shown only once."""
    from headrace.cli import keys as command

    command.create(state_dir, tenant, scope or ["infer"], days, Output(as_json=as_json))


@keys_app.command("list")
def keys_list(state_dir: StateDirOption = STATE_DIR, as_json: JsonOption = False) -> None:
    """List who got a token."""
    from headrace.cli import keys as command

    command.show(state_dir, Output(as_json=as_json))


@keys_app.command("revoke")
def keys_revoke(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="See `headrace keys list`.")],
    state_dir: StateDirOption = STATE_DIR,
    as_json: JsonOption = False,
) -> None:
    """Have a token refused everywhere before it expires."""
    from headrace.cli import keys as command

    command.revoke(state_dir, identifier, Output(as_json=as_json))


@config_app.command("check")
def config_check(
    config: Annotated[Path, typer.Option(help="The file.")] = Path("headrace.yaml"),
    state_dir: StateDirOption = STATE_DIR,  # noqa: ARG001  # every command takes it
    as_json: JsonOption = False,
) -> None:
    """Name every mistake in headrace.yaml."""
    from headrace.cli.config import check

    if not check(config, Output(as_json=as_json)):
        raise typer.Exit(1)


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Option(help="Default: headrace.yaml, if there is one.")] = None,
    state_dir: StateDirOption = STATE_DIR,
    as_json: JsonOption = False,
) -> None:
    """Check whether this machine can run a mesh."""
    from headrace.cli.doctor import doctor as command
    from headrace.cli.up import configuration

    if not command(state_dir, configuration(config), Output(as_json=as_json)):
        raise typer.Exit(1)


def main() -> NoReturn:
    """Exit codes: 0 ok, 1 failed, 2 usage."""
    try:
        app()
    except CliError as error:
        Output(as_json="--json" in sys.argv).failed(error)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1)
