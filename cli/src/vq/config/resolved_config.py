"""A run's config with every component it names looked up and its options validated. Torch-free."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vq.config.merging import regularizers_by_name
from vq.config.run_config import RunConfig
from vqcore.errors import SettingError, UsageError
from vqcore.plugin.component_config import OnDisk
from vqcore.plugin.hook_caller import HookCaller
from vqcore.plugin.registry import Component, Registry, inner_kinds, named, validate

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResolvedConfig:
    """A run's config with every component resolved: all that a run needs, nothing imported yet."""

    settings: RunConfig
    #: One of each kind.
    components: Mapping[str, Component]
    #: By name.
    regularizers: Mapping[str, Component]

    def dump(self) -> dict[str, Any]:
        """The config as plain values, with every option of every component."""
        values = self.settings.model_dump(mode="json")
        values |= {kind: component.dump() for kind, component in self.components.items()}
        values["regularizers"] = {
            name: {key: value for key, value in component.dump().items() if key != "name"}
            for name, component in self.regularizers.items()
        }
        return values

    def located(self) -> ResolvedConfig:
        """The same config with absolute paths, so that it means the same from every directory."""
        components = {kind: _located(component) for kind, component in self.components.items()}
        return replace(self, components=components)

    def title(self) -> str:
        """The components that tell runs apart, as in ``digits-poincare-codebook-homology``."""
        names = {kind: component.spec.name for kind, component in self.components.items()}
        title = [names["dataset"], names["manifold"]]
        if self.settings.bottleneck != "vq":
            return "-".join([*title, self.settings.bottleneck])
        title.append(names["quantizer"])
        if names["estimator"] != "straight-through":
            title.append(names["estimator"])
        return "-".join(title + [component.spec.name for component in self.regularizers.values()])


def resolve_config(values: Mapping[str, Any], registry: Registry) -> ResolvedConfig:
    """Validate plain values, resolve the components they name, and ask every plugin to check them.

    Raises:
        UsageError: for an unknown key, a value out of range, or what a plugin refuses.
        ComponentError: for a component that no package provides, or that two do.
    """
    values = dict(values)
    if "regularizers" in values:
        values["regularizers"] = regularizers_by_name(values["regularizers"])
    kinds = inner_kinds(RunConfig)
    values |= {key: named(values.get(key), RunConfig.model_fields[key].default) for key in kinds}
    settings = validate(RunConfig, values, "")
    components = {
        kind: registry.resolve(kind, getattr(settings, key), key) for key, kind in kinds.items()
    }
    config = ResolvedConfig(settings, components, _regularizers(settings, registry))
    hooks = HookCaller(registry, _log.warning)
    problems = hooks.call("vq_check_config", _messages, config=config)
    if any(problems):
        raise UsageError("\n".join(message for found in problems for message in found))
    return config


def _regularizers(settings: RunConfig, registry: Registry) -> dict[str, Component]:
    resolved = [
        registry.resolve("regularizer", {**options, "name": name}, f"regularizers.{name}")
        for name, options in settings.regularizers.items()
    ]
    regularizers = {component.name: component for component in resolved}
    if regularizers and settings.bottleneck != "vq":
        expected = f"none with bottleneck = {settings.bottleneck!r}, since they act on codes"
        raise SettingError("regularizers", ", ".join(regularizers), expected, "leave them out")
    return regularizers


def _located(component: Component) -> Component:
    options = component.options
    if options is None:
        return component
    paths = {
        name: str(Path(getattr(options, name)).expanduser().absolute())
        for name, field in type(options).model_fields.items()
        if any(isinstance(mark, OnDisk) for mark in field.metadata)
    }
    return replace(component, options=options.model_copy(update=paths))


def _messages(answer: Any) -> list[str]:
    return [answer] if isinstance(answer, str) else [str(text) for text in answer]
