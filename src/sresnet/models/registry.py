"""The families of networks that there are: each registers itself by name, see `models.families`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sresnet.models.network import NetworkConfig, SpikingNetwork


@dataclass(frozen=True, kw_only=True)
class Family:
    """What is known of one family."""

    config: type[NetworkConfig]
    """Its configuration; the attribute `family` is the name that files have."""
    build: Callable[[Any], SpikingNetwork]
    """The network that such a configuration describes, freshly initialised from torch's random generator."""
    models: Mapping[str, str]
    """Name of a model -> one line about it, for `list_models`."""
    fields: Callable[[str], dict[str, Any] | None]
    """Name of a model -> the fields that make it of the default configuration; None: no model of this family."""


FAMILIES: dict[str, Family] = {}
"""Name -> family, in the order in which they registered."""


def register_family(family: Family) -> None:
    """Make a family known, by the name that its configuration has; one of your own may be given again.

    Raises:
        ValueError: a configuration without a name.
    """
    name = family.config.family
    if not name:
        raise ValueError(f"{family.config.__name__} has no name: add a class attribute `family`")
    FAMILIES[name] = family
