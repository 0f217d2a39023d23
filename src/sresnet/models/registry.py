"""The families of networks, each registered by name, see `models.families`."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sresnet.models.network import NetworkConfig, SpikingNetwork


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of networks."""

    config: type[NetworkConfig]
    """Its configuration; the attribute `family` is its name in files."""
    build: Callable[[Any], SpikingNetwork]
    """The network that such a configuration describes, freshly initialised from torch's random generator."""
    models: Mapping[str, str]
    """Name of a model -> one line about it, for `list_models`."""
    fields: Callable[[str], dict[str, Any] | None]
    """Name of a model -> fields that differ from the default configuration; None: not of this family."""
    others: Collection[str] = ()
    """Names of networks that other papers published, of which `compat` cannot say anything."""


FAMILIES: dict[str, Family] = {}
"""Name -> family, in the order in which they registered."""


def register_family(family: Family) -> None:
    """Register a family under its configuration's name, replacing an earlier one; ValueError without a name."""
    name = family.config.family
    if not name:
        raise ValueError(f"{family.config.__name__} has no name: add a class attribute `family`")
    FAMILIES[name] = family
