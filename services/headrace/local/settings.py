"""Settings of the supervisor, from HEADRACE_LOCAL_* variables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.runtime.settings import SettingsReader

PREFIX = "HEADRACE_LOCAL"
UNSET = -1


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Which mesh to run. `environ` is what the processes inherit.

    `port` and `replicas` win over headrace.yaml; None leaves them to it. Port 0
    means free ports for everything.
    """

    state_dir: Path
    config: Path | None = None
    port: int | None = None
    replicas: int | None = None
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "LocalSettings":
        """Raises `SettingsError` with every mistake."""
        reader = SettingsReader(values, PREFIX)
        port = reader.integer("PORT", UNSET, low=UNSET, high=65535)
        replicas = reader.integer("REPLICAS", UNSET, low=UNSET, high=64)
        settings = cls(
            state_dir=(reader.path("STATE_DIR", None) or Path(".headrace")).absolute(),
            config=reader.path("CONFIG", None),
            port=None if port == UNSET else port,
            replicas=None if replicas == UNSET else replicas,
            environ={name: value for name, value in values.items() if not name.startswith(PREFIX)},
        )
        reader.finish()
        return settings
