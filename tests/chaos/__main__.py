"""`make chaos`: breaks a mesh of its own under load, and judges what came of it.

    python -m tests.chaos run [--rounds N] [--seconds S] [--crowded N] [--seed N] [--only KIND] [--history FILE]
    python -m tests.chaos check HISTORY LEDGER

Exit code 1 where the verdict names a violation.
"""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.checker import Verdict
from tests.chaos.history import Invoked, read
from tests.chaos.scenario import Script, play, shown, small_mesh, verdict

ROUNDS, CROWDED, SECONDS = 200, 50, 3600.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="break a mesh of its own, and judge")
    run.add_argument("--rounds", type=int, default=ROUNDS, help="faults of every kind")
    run.add_argument("--crowded", type=int, default=CROWDED, help="kills of a replica with 128 in flight")
    run.add_argument("--seconds", type=float, default=SECONDS, help="no round begins later")
    run.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(10**6), help="the order of the faults"
    )
    run.add_argument(
        "--only", action="append", default=[], metavar="KIND", help="a kind of fault; again for more"
    )
    run.add_argument(
        "--history", type=Path, default=Path(".cache/chaos/history.jsonl"), help="where it is written down"
    )
    check = commands.add_parser("check", help="judge a history again")
    check.add_argument("history", type=Path)
    check.add_argument("ledger", type=Path)
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> Verdict:
    arguments.history.parent.mkdir(parents=True, exist_ok=True)
    arguments.history.unlink(missing_ok=True)
    script = Script(arguments.seed, arguments.rounds, arguments.crowded, arguments.only, arguments.seconds)
    print(f"seed {arguments.seed}, history {arguments.history}", flush=True)
    with tempfile.TemporaryDirectory(prefix="hr-models-") as directory:
        models = Path(directory, "models")
        with small_mesh(models) as mesh:
            found = play(mesh, models, arguments.history, script, _tell)
            shutil.copy(
                mesh.state_dir / "metering" / "ledger.sqlite3", arguments.history.with_suffix(".sqlite3")
            )
    return found


def _check(history: Path, ledger: Path) -> Verdict:
    tenants = sorted({one.tenant for one in read(history) if isinstance(one, Invoked)})
    return verdict(history, ledger, tenants)


def _tell(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    """The exit code."""
    arguments = _arguments()
    found = _run(arguments) if arguments.command == "run" else _check(arguments.history, arguments.ledger)
    shown(found, _tell)
    return 1 if found.violations else 0


if __name__ == "__main__":
    sys.exit(main())
