"""Components as users of the layer choose them: by name, by name and options, or built already."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from vqcore.errors import SettingError
from vqcore.plugin.component_config import ComponentRef
from vqcore.plugin.registry import Component, Registry, default_registry

Choice = str | Mapping[str, Any] | ComponentRef | Component


def build(registry: Registry | None, kind: str, choice: Choice | nn.Module, **injected: Any) -> Any:
    """Build a choice, from the installed plugins if no registry is given; a module is returned."""
    if isinstance(choice, nn.Module):
        return choice
    registry = registry or default_registry()
    if not isinstance(choice, Component):
        choice = registry.resolve(kind, choice)
        for sentence in choice.idle_options():
            warnings.warn(sentence, stacklevel=3)  # where the layer is built
    return registry.build(choice, **injected)


def check_built(built: nn.Module, expected: dict[str, Any]) -> None:
    """Refuse a quantizer that was built for other sizes or another manifold than the layer."""
    for name, value in expected.items():
        found = getattr(built, name)
        if found is not value and found != value:
            fixes = {"dim": f"or set code_dim={found}", "codebook_size": f"or set {name}={found}"}
            text = f"one built for {name} = {value}, found {found}"
            raise SettingError("quantizer", type(built).__name__, text, fixes.get(name, ""))


def by_name(choices: Iterable[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Regularizers as name -> choice, from a list of choices or a mapping of name -> options."""
    if isinstance(choices, str):
        choices = [choices]
    if isinstance(choices, Mapping):
        choices = [{"name": name, **(options or {})} for name, options in choices.items()]
    found: dict[str, Any] = {}
    for choice in choices:
        name = _name(choice).rpartition("/")[2]
        if name in found:
            raise SettingError("regularizers", name, "each name once")
        found[name] = choice
    return found


def _name(choice: Any) -> str:
    if isinstance(choice, nn.Module):
        return type(choice).__name__.lower()
    name = choice.get("name") if isinstance(choice, Mapping) else getattr(choice, "name", choice)
    if not isinstance(name, str):
        expected = "the name of a component, or a mapping with a name in it"
        raise SettingError("regularizers", choice, expected)
    return name
