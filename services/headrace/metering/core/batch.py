"""A batch of usage events as the ledger computes with it: columns of whole numbers."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Keys = NDArray[np.void]
"""16 bytes each; all zero: none."""

Name = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Batch:
    """Columns of equal length; `name` is a position in `names` (tenant, model, version)."""

    names: tuple[Name, ...]
    name: Ints
    kind: Ints
    code: Ints
    rows: Ints
    time_ms: Ints
    cpu_ns: Ints
    gpu_ns: Ints
    request_bytes: Ints
    response_bytes: Ints
    stored_bytes: Ints
    stored_ms: Ints
    price_version: Ints
    billing_key: Keys
    digest: Keys

    def __len__(self) -> int:
        return len(self.kind)

    def after(self, count: int) -> "Batch":
        """The same without its first events."""
        if count <= 0:
            return self
        columns = {field.name: getattr(self, field.name)[count:] for field in fields(self)[1:]}
        return replace(self, **columns)


def present(keys: Keys) -> Flags:
    """Which of the keys are not all zero."""
    halves = np.ascontiguousarray(keys).view(np.uint64)
    found: Flags = (halves[::2] | halves[1::2]) != 0
    return found
