"""Where a benchmark sends its requests, and as whom."""

from dataclasses import dataclass, field
from pathlib import Path

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway on loopback: its port, its admin socket, its cluster for ModelInfer, a token."""

    name: str
    port: int
    admin: Path
    cluster: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of load: what was asked, how long it took, how each request fared."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float

    @property
    def per_s(self) -> float:
        return self.requests / self.seconds
