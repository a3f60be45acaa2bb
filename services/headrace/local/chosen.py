"""The configuration of one run: headrace.yaml, and what the command line says over it."""

import msgspec

from headrace.local.config.reading import ConfigError, read
from headrace.local.config.schema import Config
from headrace.local.config.whole import within_bounds
from headrace.local.errors import StartFault
from headrace.local.settings import LocalSettings


def configuration(settings: LocalSettings) -> Config:
    """headrace.yaml with what the command line says over it; raises StartFault."""
    try:
        config = read(settings.config) if settings.config else Config()
    except ConfigError as error:
        raise StartFault(
            f"{settings.config} has {len(error.problems)} mistake(s)",
            "\n".join(map(str, error.problems)),
            "correct them and run `headrace config check`",
        ) from None
    if settings.port is not None:
        config = _changed(config, "gateway", port=settings.port)
    if settings.port == 0:
        for section in ("inference", "insight", "limits", "metering", "scaling"):
            config = _changed(config, section, port=0)
        config = _changed(config, "insight", web_port=0)
        config = _changed(config, "cache", port=0, valkey_port=0)
    if settings.replicas is not None:
        config = _changed(config, "inference", replicas=settings.replicas)
        if not within_bounds(config):
            raise StartFault(
                f"{settings.replicas} replicas are not allowed",
                f"scaling.min and scaling.max are {config.scaling.min} and {config.scaling.max}",
                "change --replicas, or headrace.yaml",
            )
    return config


def _changed(config: Config, section: str, **values: int) -> Config:
    return msgspec.structs.replace(
        config, **{section: msgspec.structs.replace(getattr(config, section), **values)}
    )
