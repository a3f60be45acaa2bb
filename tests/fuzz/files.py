"""Parsers of files: each input is written to one of its own."""

from pathlib import Path

import msgspec

from headrace.inference.batching import policy_of
from headrace.inference.config import check_whole, given_config, signature_of
from headrace.inference.core.memory import Use
from headrace.inference.onnx_file import check_external_data
from headrace.inference.regions import Entry, Regions
from headrace.insight.targets import Targets
from headrace.runtime.access import TokenVerifier
from tests.fuzz.corpus import JWKS, TOKEN


class Files:
    """In one folder."""

    def __init__(self, folder: Path) -> None:
        self._model = folder / "m"
        self._jwks = folder / "jwks.json"
        self._shm = folder / "shm"
        self._registered = folder / "regions"
        self._targets = folder / "targets.json"

    def pbtxt(self, data: bytes) -> None:
        """config.pbtxt, and what is made of it."""
        self._model.mkdir(exist_ok=True)
        (self._model / "config.pbtxt").write_bytes(data)
        config = given_config(self._model)
        check_whole(self._model / "config.pbtxt", config)
        signature_of(config)
        policy_of(config)

    def onnx(self, data: bytes) -> None:
        """A model's file, as far as it is read before ONNX Runtime has it."""
        self._model.mkdir(exist_ok=True)
        (self._model / "model.onnx").write_bytes(data)
        check_external_data(self._model / "model.onnx")

    def region(self, data: bytes) -> None:
        """A region of shared memory, registered and read as it says."""
        self._shm.mkdir(exist_ok=True)
        (self._shm / "object").write_bytes(bytes(64))
        wanted = msgspec.json.decode(data.decode("utf-8", "replace"), type=Entry)
        regions = Regions(self._registered, self._shm)
        try:
            regions.register(wanted.tenant, wanted.name, wanted.region)
            found = regions.read(wanted.tenant, [Use(wanted.name, 0, wanted.region.byte_size, "inputs[0]")])
            assert found == [bytes(wanted.region.byte_size)]
        finally:
            regions.unregister(wanted.tenant)

    def targets(self, data: bytes) -> None:
        """The list of processes, of which one that can't be read says nothing."""
        self._targets.write_bytes(data)
        Targets(self._targets).read()

    def jwks(self, data: bytes) -> None:
        """The keys by which tokens are verified."""
        self._jwks.write_bytes(data)
        TokenVerifier(self._jwks).verify(f"Bearer {TOKEN}")

    def token(self, data: bytes) -> None:
        """A bearer token, as a header has it."""
        self._jwks.write_text(JWKS)
        TokenVerifier(self._jwks).verify(data.decode("latin-1"))
