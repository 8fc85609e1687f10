"""A run's config with every component it names looked up and its options validated. Torch-free."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vq.config.merging import bare, by_name
from vq.config.plugin_files import absolute_files
from vq.config.run_config import RunConfig
from vq.config.setting_hints import hint
from vqcore.errors import SettingError, UsageError, VQError, shown, shown_key
from vqcore.plugin import protocols
from vqcore.plugin.bounds import MOST_NUMBERS
from vqcore.plugin.component import SEVERAL, ComponentSpec
from vqcore.plugin.component_choice import inner_kinds, named, split_choice
from vqcore.plugin.component_config import (
    CodebookConfig,
    ComponentConfig,
    ComponentRef,
    OnDisk,
    require_total_dim,
)
from vqcore.plugin.deprecation import with_new_names
from vqcore.plugin.hook_caller import HookCaller
from vqcore.plugin.idle_options import idle_options
from vqcore.plugin.plugin_settings import PluginSettings
from vqcore.plugin.registry import Registry
from vqcore.plugin.resolved_component import Component
from vqcore.plugin.validation import validate

_log = logging.getLogger(__name__)


#: What a trained model runs without.
TRAINING_ONLY = ("dataset", "optimizer")


@dataclass(frozen=True, kw_only=True)
class Unavailable(Component):
    """A component that a trained model does not need, and that cannot be resolved here.

    Attributes:
        error: why, to be raised where it is needed all the same.
        given: its name and options as plain values.
    """

    error: VQError
    given: Mapping[str, Any]

    def dump(self) -> dict[str, Any]:
        """Name and options as they were given."""
        return dict(self.given)


@dataclass(frozen=True)
class ResolvedConfig:
    """A run's config with every component resolved: all that a run needs, nothing imported yet."""

    settings: RunConfig
    #: One of each kind.
    components: Mapping[str, Component]
    #: By name.
    regularizers: Mapping[str, Component]
    #: By name; none: what fits the data set.
    losses: Mapping[str, Component]
    #: Settings of plugins themselves, by plugin.
    plugins: PluginSettings

    def dump(self) -> dict[str, Any]:
        """The config as plain values, with every option of every component.

        Settings of a plugin are among them if one of them was set.
        """
        values = self.settings.model_dump(mode="json", exclude={"plugins"})
        values |= {kind: component.dump() for kind, component in self.components.items()}
        for key in SEVERAL:
            dumped = [component.dump() for component in getattr(self, key).values()]
            values[key] = {options.pop("name"): options for options in dumped}
        plugins = self.plugins.dump()
        return {**values, "plugins": plugins} if plugins else values

    @property
    def every_component(self) -> Iterator[Component]:
        """The components of all kinds."""
        yield from self.components.values()
        for key in SEVERAL:
            yield from getattr(self, key).values()

    def located(self) -> ResolvedConfig:
        """The same config with absolute paths, so that it means the same from every directory."""
        places: dict[str, Any] = {
            place: {name: _located(component) for name, component in getattr(self, place).items()}
            for place in ("components", *SEVERAL)
        }
        settings = self.settings
        located: dict[str, Any] = {"plugin_files": absolute_files(settings.plugin_files)}
        for name in ("eval_lpips", "eval_fid"):
            path = getattr(settings, name)
            located[name] = path and os.path.abspath(path)
        if settings.init_from and Path(settings.init_from).expanduser().is_dir():
            located["init_from"] = _absolute(settings.init_from, "init_from")
        settings = settings.model_copy(update=located)
        plugins = self.plugins.mapped(_with_absolute_paths)
        return replace(self, settings=settings, plugins=plugins, **places)

    def idle_settings(self) -> Iterator[str]:
        """A sentence about each setting that was changed but cannot act, by its key path."""
        for name, hindrance in idle_options(self.settings):
            value = getattr(self.settings, name)
            chosen = bare(value.name) if isinstance(value, ComponentRef) else shown(value)
            yield f"{name} = {chosen}: has no effect with {hindrance}"
        for component in self.every_component:
            yield from component.idle_options()
        yield from self.plugins.idle_options()

    def title(self) -> str:
        """The components that tell runs apart, as in ``digits-poincare-codebook-homology``."""
        names = {kind: component.spec.name for kind, component in self.components.items()}
        title = [names["dataset"], names["manifold"]]
        if self.settings.bottleneck != "vq":
            title.append(self.settings.bottleneck)
        else:
            title.append(names["quantizer"])
            if names["estimator"] != "straight-through":
                title.append(names["estimator"])
        added = (*self.regularizers.values(), *self.losses.values())
        return "-".join(title + [component.spec.name for component in added])


def resolve_config(
    values: Mapping[str, Any], registry: Registry, *, trained: bool = False, read: bool = False
) -> ResolvedConfig:
    """Validate plain values and resolve the components they name.

    What a model that is ``trained`` runs without may be missing: the data set, the optimizer,
    regularizers and losses are then ``Unavailable``. Where a config is only ``read``, and of a
    ``trained`` model, plugins that it has settings for may be missing. A section of a plugin that
    is null is none.

    Raises:
        UsageError: for an unknown key or a value out of range.
        ComponentError: for a component that no package provides, or that two do.
    """
    values = with_new_names(RunConfig, values, "", warn=not registry.record.providers)
    if values.get("epochs") is not None:
        values.setdefault("max_steps", None)
    for key in values.keys() & SEVERAL:
        values[key] = by_name(key, values[key])
    kinds = inner_kinds(RunConfig)
    values |= {key: named(values.get(key), RunConfig.model_fields[key].default) for key in kinds}
    values["plugins"] = _without_null(values.get("plugins"))
    settings = validate(RunConfig, values, "", hint)
    if settings.epochs is None and settings.max_steps is None:
        raise SettingError("max_steps", None, "a number of steps", "set it or epochs")
    optional = (*TRAINING_ONLY, *SEVERAL.values()) if trained else ()
    resolve = partial(_resolved, registry, optional)
    components = {kind: resolve(kind, getattr(settings, key), key) for key, kind in kinds.items()}
    _check_sizes(settings, components["quantizer"], trained=trained)
    if not trained:
        _check_dim(settings, components)
    several = {key: _several(key, settings, resolve) for key in SEVERAL}
    if several["regularizers"] and settings.bottleneck != "vq":
        expected = f"none with bottleneck = {settings.bottleneck!r}, since they act on codes"
        names = ", ".join(several["regularizers"])
        raise SettingError("regularizers", names, expected, "leave them out")
    plugins = PluginSettings(registry, settings.plugins, tolerant=trained or read)
    return ResolvedConfig(settings, components, **several, plugins=plugins)


def check_config(config: ResolvedConfig, registry: Registry) -> None:
    """Ask every plugin whether a run with this config may start.

    Raises:
        UsageError: for what a plugin refuses.
        ComponentError: naming a plugin that fails to answer.
    """
    checked: protocols.ResolvedConfig = config
    with redirect_stdout(sys.stderr):  # stdout is the command's
        problems = HookCaller(registry, _log.warning).check("vq_check_config", config=checked)
    if problems:
        raise UsageError("\n".join(problems))


def _resolved(
    registry: Registry, optional: Sequence[str], kind: str, choice: Any, path: str
) -> Component:
    try:
        return registry.resolve(kind, choice, path)
    except VQError as error:
        if kind not in optional:
            raise
        name, options = split_choice(choice, path)
        slug = re.sub("[^a-z0-9]+", "-", bare(name).lower()).strip("-") or "unknown"
        spec = ComponentSpec(name=slug, target="vq:unavailable", summary="not available here")
        given = {"name": name, **options}
        return Unavailable(kind, slug, spec, "", path, None, error=error, given=given)


def _without_null(plugins: Any) -> Any:
    """The settings of plugins without sections that a later source has set to null."""
    if plugins is None:
        return {}
    if not isinstance(plugins, Mapping):
        return plugins
    return {name: options for name, options in plugins.items() if options is not None}


def _check_sizes(settings: RunConfig, quantizer: Component, *, trained: bool) -> None:
    """Refuse sizes that are each within their bounds and together cannot act or fit."""
    if settings.accumulate > settings.batch_size and not trained:
        expected = f"at most batch_size, {settings.batch_size}"
        raise SettingError("accumulate", settings.accumulate, expected)
    numbers = settings.codebook_size * (settings.code_dim or settings.dim)
    if numbers > MOST_NUMBERS and any(isinstance(o, CodebookConfig) for o in _options(quantizer)):
        expected = f"a table of at most {MOST_NUMBERS:.1e} numbers, not {numbers:.1e}"
        raise SettingError("codebook_size", settings.codebook_size, expected)


def _check_dim(settings: RunConfig, components: Mapping[str, Component]) -> None:
    """Refuse a dimension that components cannot have, where the config tells that of a code."""
    backbone = _options(components["backbone"])
    takes_dim = all(options and options.sets_dim is False for options in backbone)
    if settings.code_dim is None and not takes_dim:
        return
    setting = "dim" if settings.code_dim is None else "code_dim"
    whole, manifold = getattr(settings, setting), components["manifold"]
    codes = [whole]
    if settings.bottleneck == "vq":
        tables = components["quantizer"].dims(whole)
        codes = [dim for table, dim in tables if isinstance(table.options, CodebookConfig)]
    for dim in codes:
        list(manifold.dims(dim))
    if codes and manifold.options:
        require_total_dim(manifold.options.total_dim(), whole, setting)


def _options(component: Component) -> Iterator[ComponentConfig | None]:
    yield component.options
    for child in component.children.values():
        yield from _options(child)


def _several(
    key: str, settings: RunConfig, resolve: Callable[[str, Any, str], Component]
) -> dict[str, Component]:
    """The components of a setting that holds several, by name."""
    given: Mapping[str, Mapping[str, Any]] = getattr(settings, key)
    resolved = [
        resolve(SEVERAL[key], {**options, "name": name}, shown_key(f"{key}.{bare(name)}"))
        for name, options in given.items()
    ]
    found = {component.name: component for component in resolved}
    if len(found) < len(resolved):
        raise SettingError(key, ", ".join(given), "each once", "two of these names mean the same")
    return found


def _located(component: Component) -> Component:
    children = {name: _located(child) for name, child in component.children.items()}
    options = component.options and _with_absolute_paths(component.options, component.path)
    return replace(component, children=children, options=options)


def _with_absolute_paths(options: ComponentConfig, path: str) -> ComponentConfig:
    """Options at this key path with those absolute that are ``OnDisk``."""
    paths = {
        name: _absolute(getattr(options, name), f"{path}.{name}")
        for name, field in type(options).model_fields.items()
        for mark in field.metadata
        if isinstance(mark, OnDisk) and getattr(options, name) not in (None, *mark.words)
    }
    return options.model_copy(update=paths)


def _absolute(path: str, setting: str) -> str:
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError as error:  # nobody of that name has a home
        raise SettingError(setting, path, "a path") from error
