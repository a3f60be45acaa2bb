"""Sections of headrace.yaml as the services read them: in variables of their environment."""

from collections.abc import Mapping

import msgspec

from headrace.local.config.schema import Config, Limits


def weights(section: Limits) -> str:
    """The tenants that have a weight of their own, as a replica reads them."""
    own = {name: tenant.weight for name, tenant in section.tenants.items()}
    given = {name: weight for name, weight in own.items() if weight is not msgspec.UNSET}
    return msgspec.json.encode(given, order="sorted").decode()


def limits(section: Limits) -> str:
    """The section as guard reads it: without what says how guard is run."""
    values = msgspec.to_builtins(section)
    for tenant in values["tenants"].values():  # a replica's matter, not guard's
        tenant.pop("weight", None)
    return msgspec.json.encode(
        {name: values[name] for name in values.keys() - {"enabled", "port", "revocation_staleness_s"}},
        order="sorted",
    ).decode()


def scaling(config: Config) -> Mapping[str, str]:
    """The policy, one variable for each of its keys, with the number of replicas to begin with."""
    section = msgspec.to_builtins(config.scaling)
    values = {name: section[name] for name in section.keys() - {"port", "up", "down"}}
    values["replicas"] = config.inference.replicas
    for side in ("up", "down"):
        values |= {f"{side}_{name}": value for name, value in section[side].items()}
    return {f"HEADRACE_SCALING_{name.upper()}": str(value) for name, value in values.items()}
