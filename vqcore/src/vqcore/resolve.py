"""How a user of the layer says which component: by name, by name and options, resolved already, or built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from vqcore.errors import SettingError
from vqcore.plugin.component_config import ComponentRef
from vqcore.plugin.registry import Component, Registry, default_registry

Choice = str | Mapping[str, Any] | ComponentRef | Component


def build(registry: Registry | None, kind: str, choice: Choice | nn.Module, **injected: Any) -> Any:
    """Build what was chosen, by the installed plugins where no registry is given; a module is passed through."""
    if isinstance(choice, nn.Module):
        return choice
    registry = registry or default_registry()
    chosen = choice if isinstance(choice, Component) else registry.resolve(kind, choice)
    return registry.build(chosen, **injected)


def by_name(choices: Iterable[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Regularizers as name -> choice, from a list of choices or a mapping of name -> options."""
    if isinstance(choices, str):
        choices = [choices]
    if isinstance(choices, Mapping):
        choices = [{"name": name, **(options or {})} for name, options in choices.items()]
    named: dict[str, Any] = {}
    for choice in choices:
        name = _name(choice).rpartition("/")[2]
        if name in named:
            raise SettingError("regularizers", name, "each name once")
        named[name] = choice
    return named


def _name(choice: Any) -> str:
    if isinstance(choice, nn.Module):
        return type(choice).__name__.lower()
    name = choice.get("name") if isinstance(choice, Mapping) else getattr(choice, "name", choice)
    if not isinstance(name, str):
        raise SettingError(
            "regularizers", choice, "the name of a component, or a mapping with a name in it"
        )
    return name
