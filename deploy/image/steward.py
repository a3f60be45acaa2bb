"""What the supervisor does besides starting processes, where containers are started by somebody else.

Makes the keys, tokens and secrets that are missing, the gateway's configuration
with its fixed list of replicas, and the demo models; hands each container's
volume only what that container may read. Then serves the public keys to the
gateway, publishes new ones, and sends metering the usage of replicas that died.

    steward.py REPLICA ...
"""

import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.local import gateway, valkey
from headrace.local.endpoints import Endpoint, write_files
from headrace.local.gateway import GatewaySettings
from headrace.local.jwks import serving_jwks
from headrace.local.keys import KeyStore
from headrace.local.secret_files import ensure_secrets
from headrace.local.statedir import StateDir, prepare, write_atomically
from headrace.local.sweeper import AT_MOST_S, Sweeper
from headrace.local.tokens import ensure_tokens
from headrace.metering.client import sweep
from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.lifecycle import log_as_json

PUBLISH_S = 1.0
"""A new signing key is known to every container after so long, and to the gateway as on one machine."""


@dataclass(frozen=True, slots=True)
class Volumes:
    """Where the volumes are mounted.

    `state` holds the private keys and is the steward's own but for its folders
    `run`, `envoy`, `models` and `outbox`, each a volume of its own.
    """

    state: StateDir
    public: Path
    cache: Path
    redis: Path


MOUNTED = Volumes(
    StateDir(Path("/var/lib/headrace")),
    Path("/etc/headrace/public"),
    Path("/etc/headrace/cache"),
    Path("/etc/headrace/redis"),
)


def gateway_settings(state: StateDir) -> GatewaySettings:
    """Every default, on all of the container's addresses: Compose publishes them on loopback only.

    The replicas are in files: scaling asks a supervisor, and here is none.
    """
    return GatewaySettings(state.run, state.envoy, host="0.0.0.0", endpoints_from="files")


def endpoint(state: StateDir, replica: str) -> Endpoint:
    """A replica's sockets, named as the supervisor names them."""
    return Endpoint(replica, state.run / f"{replica}.hot.sock", state.run / f"{replica}.grpc.sock")


def fill(volumes: Volumes, replicas: Sequence[str], clock: Clock) -> KeyStore:
    """Writes every file that another container reads at its start; what is there already is kept."""
    state = volumes.state
    prepare(state)
    keys = KeyStore(state.keys, clock=clock)
    ensure_tokens(state, keys, clock)
    ensure_secrets(state)
    write_atomically(volumes.cache / "cache.key", state.cache_key.read_bytes())
    write_atomically(volumes.cache / "redis.password", state.valkey_password.read_bytes())
    write_atomically(volumes.redis / "users.acl", valkey.acl(state.valkey_password.read_text()).encode())
    publish(keys, volumes)
    settings = gateway_settings(state)
    gateway.write(settings)
    write_files(settings.config_dir, [endpoint(state, replica) for replica in replicas], "steward")
    return keys


def publish(keys: KeyStore, volumes: Volumes) -> None:
    """Copies the public keys to where every container reads them, if they changed."""
    document, copy = keys.jwks(), volumes.public / "jwks.json"
    if not copy.exists() or copy.read_bytes() != document:
        write_atomically(copy, document)


async def lay_out_models(repository: Path) -> None:
    """The demo models, built in a process of their own, which takes a gigabyte for a moment."""
    building = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headrace.local.demo", str(repository)
    )
    if await building.wait():
        sys.exit(1)


async def keep(volumes: Volumes, keys: KeyStore) -> None:
    """Serves, publishes and sweeps until it is cancelled."""
    state = volumes.state

    async def swept() -> int:
        return await sweep(state.outbox, f"unix:{state.socket('metering')}", deadline_s=AT_MOST_S)

    async with serving_jwks(state.jwks_socket, keys.jwks), asyncio.TaskGroup() as tasks:
        tasks.create_task(Sweeper(swept).keep(), name="sweeper")
        while True:
            await asyncio.sleep(PUBLISH_S)
            await asyncio.to_thread(publish, keys, volumes)


async def main(volumes: Volumes, replicas: Sequence[str]) -> None:
    """Runs until SIGTERM or SIGINT."""
    keys = fill(volumes, replicas, SystemClock())
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await lay_out_models(volumes.state.models)
    keeping = asyncio.create_task(keep(volumes, keys))
    waiting = asyncio.create_task(stopped.wait())
    await asyncio.wait((keeping, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not keeping.done():
        keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=stopped.is_set())


if __name__ == "__main__":
    log_as_json("steward")
    asyncio.run(main(MOUNTED, sys.argv[1:]))
