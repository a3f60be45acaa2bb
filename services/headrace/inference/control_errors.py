"""What can be wrong with a change of the models or the settings, in the contract's reasons."""

from headrace.inference.errors import DOMAIN, RETRY_AFTER_S, shown
from headrace.runtime.errors import FieldViolation, HeadraceError


def server_not_ready(models: list[str]) -> HeadraceError:
    """Some models that should serve don't."""
    names = ", ".join(models)
    return HeadraceError("SERVER_NOT_READY", f"not ready: {names}", {"models": names}, DOMAIN, RETRY_AFTER_S)


def model_control_off(mode: str) -> HeadraceError:
    """Models are not loaded on request in this mode."""
    return HeadraceError(
        "MODEL_CONTROL_OFF",
        f"models are loaded on request in mode 'explicit' only; the mode is {mode!r}",
        {"mode": mode},
        DOMAIN,
    )


def model_name_invalid(name: str, problem: str) -> HeadraceError:
    """The name can be no model's."""
    name = shown(name)
    return HeadraceError(
        "MODEL_NAME_INVALID",
        f"model name {name!r}: {problem}",
        {"model": name},
        DOMAIN,
        violations=(FieldViolation("model_name", problem),),
    )


def model_load_failed(model: str, reason: str) -> HeadraceError:
    """The model could not be loaded; what served before serves on."""
    return HeadraceError(
        "MODEL_LOAD_FAILED",
        f"model {model!r} was not loaded: {reason}",
        {"model": model, "cause": reason},
        DOMAIN,
    )


def loads_busy(most: int) -> HeadraceError:
    """As many loads wait as may."""
    return HeadraceError(
        "LOADS_BUSY", f"{most} loads wait already", {"max_waiting": str(most)}, DOMAIN, RETRY_AFTER_S
    )


def replica_behind(replica: str, problem: str) -> HeadraceError:
    """Done here; another replica has not done it."""
    return HeadraceError(
        "REPLICA_BEHIND",
        f"replica {replica!r} is behind: {problem}",
        {"replica": replica, "cause": problem},
        DOMAIN,
        RETRY_AFTER_S,
    )


def repository_unknown(repository: str) -> HeadraceError:
    """A replica has one repository, which has no name."""
    repository = shown(repository)
    return HeadraceError(
        "REPOSITORY_UNKNOWN",
        f"no repository {repository!r}: the only one has no name",
        {"repository": repository},
        DOMAIN,
    )


def setting_invalid(field: str, problem: str) -> HeadraceError:
    """`field` is the setting or the parameter."""
    field, problem = shown(field), shown(problem)
    return HeadraceError(
        "SETTING_INVALID",
        f"{field}: {problem}",
        {"field": field},
        DOMAIN,
        violations=(FieldViolation(field, problem),),
    )


def shared_memory_off(region: str) -> HeadraceError:
    """Nobody may have this server read its machine's memory."""
    region = shown(region)
    return HeadraceError(
        "SHARED_MEMORY_OFF",
        "shared memory is not served: send the tensor in the request, or have it allowed in the settings",
        {"region": region},
        DOMAIN,
    )


def shared_memory_unsupported(kind: str) -> HeadraceError:
    """There is no device whose memory could be shared."""
    return HeadraceError(
        "SHARED_MEMORY_UNSUPPORTED",
        f"{kind} shared memory is not supported: this replica has no such device",
        {"kind": kind},
        DOMAIN,
    )


def region_not_found(kind: str, region: str) -> HeadraceError:
    """No such region was registered."""
    region = shown(region)
    return HeadraceError(
        "REGION_NOT_FOUND",
        f"no {kind} shared memory region {region!r}",
        {"kind": kind, "region": region},
        DOMAIN,
    )


def region_invalid(field: str, problem: str) -> HeadraceError:
    """`field` is the one of the registration that can't be."""
    return HeadraceError(
        "REGION_INVALID",
        f"{field}: {problem}",
        {"field": field},
        DOMAIN,
        violations=(FieldViolation(field, problem),),
    )


def region_exists(region: str) -> HeadraceError:
    """The caller's tenant has a region of this name."""
    region = shown(region)
    return HeadraceError(
        "REGION_EXISTS",
        f"system shared memory region {region!r} is registered already",
        {"kind": "system", "region": region},
        DOMAIN,
    )


def regions_full(most: int) -> HeadraceError:
    """As many are registered as may be."""
    return HeadraceError(
        "REGIONS_FULL",
        f"{most} regions are registered, which is as many as may be",
        {"regions": str(most)},
        DOMAIN,
    )


def shared_memory_remote() -> HeadraceError:
    """The caller is on another machine, as far as this one can tell."""
    return HeadraceError(
        "SHARED_MEMORY_REMOTE", "memory is shared with callers on this machine only", {}, DOMAIN
    )
