"""`headrace top`: what the mesh does now, again and again until Ctrl-C."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live

from headrace.cli.board import board
from headrace.cli.errors import CliError
from headrace.cli.mesh import channel, listed, services, state_of, token
from headrace.cli.output import Output
from headrace.insight.client import InsightClient, overview_document
from headrace.runtime.channels import bearer

REFRESH_S = 2.0
"""As often as insight reads them by default."""


def top(state_dir: Path, *, once: bool, output: Output) -> None:
    """The figures: live on a terminal; once without one, with `once`, and as a document."""
    if once or output.as_json or not sys.stdout.isatty():
        asyncio.run(_once(state_dir, output))
        return
    with contextlib.suppress(KeyboardInterrupt):  # how one ends it
        asyncio.run(_live(state_dir))


def link(state_dir: Path, output: Output) -> None:
    """The web page's address with a way in that is good once."""
    url = asyncio.run(_link(state_dir))
    output.document({"url": url})
    output.text(url)
    output.note("good once, for a minute")


async def _once(state_dir: Path, output: Output) -> None:
    async with insight(state_dir) as client:
        overview = await client.overview()
    output.document(overview_document(overview))
    if not output.as_json:
        Console(highlight=False).print(board(overview))


async def _live(state_dir: Path) -> None:
    async with insight(state_dir) as client:
        overview = await client.overview()
        with Live(board(overview), console=Console(highlight=False), screen=True, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(REFRESH_S)
                live.update(board(await client.overview()), refresh=True)


async def _link(state_dir: Path) -> str:
    async with insight(state_dir) as client:
        return await client.web_link()


@asynccontextmanager
async def insight(state_dir: Path) -> AsyncIterator[InsightClient]:
    """The insight of a mesh, asked as its operator; raises CliError when it can't be reached."""
    state = state_of(state_dir)
    addresses = services(listed(state)).get("insight")
    if not addresses:
        raise CliError("insight does not run", "it keeps the figures", "see `headrace status`")
    async with channel(addresses[0]) as opened:
        yield InsightClient(opened, bearer(token(state.operator_token)))
