"""The settings of plugins themselves, which the hook ``vq_settings`` declares. Torch-free."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vqcore.errors import ComponentError, VQError, did_you_mean, shown_key
from vqcore.plugin.deprecation import with_new_names
from vqcore.plugin.idle_options import idle_sentences
from vqcore.plugin.importing import options_model
from vqcore.plugin.registry import Registry
from vqcore.plugin.validation import validate

if TYPE_CHECKING:
    from vqcore.plugin.component_config import ComponentConfig
    from vqcore.plugin.loader import Plugin


class PluginSettings(Mapping[str, Any]):
    """The settings of every plugin that has some, by the plugin's name.

    Where none of a plugin's were given, all are the defaults, and nothing is imported until they
    are read. Those that cannot be read here are kept, and left out of iteration. No registry is
    held, so that a config is copied and pickled.

    Args:
        registry: the plugins.
        values: options that were given, by plugin. Those of a plugin that is turned off are kept.
        tolerant: keep all that cannot be validated here, for a config that is only read.

    Raises:
        ComponentError: if a plugin is missing, has no settings, or has broken ones.
        UsageError: if an option is unknown or has an invalid value.
    """

    def __init__(
        self, registry: Registry, values: Mapping[str, Mapping[str, Any]], *, tolerant: bool = False
    ) -> None:
        self._locations: dict[str, str] = {}
        self._given: dict[str, ComponentConfig] = {}
        self._defaults: dict[str, ComponentConfig] = {}
        self._unread: dict[str, dict[str, Any]] = {}
        self._errors: dict[str, str] = {}
        self._turned_off = [name for name in values if _is_turned_off(registry, name)]
        for name in with_settings(registry):
            try:
                self._locations[name] = _location(registry, name)
            except ComponentError as error:
                self._errors[name] = str(error)
        for name, options in values.items():
            try:
                settings = _validated(registry, name, options)
            except VQError as error:
                if not tolerant and name not in self._turned_off:
                    raise
                self._unread[name] = dict(options)
                self._errors[name] = str(error)
            else:
                if options:
                    self._given[name] = settings

    def __getitem__(self, name: str) -> Any:
        """The settings of a plugin.

        Raises:
            KeyError: if there is no such plugin, or it has no settings.
            ComponentError: if they cannot be read here.
        """
        if name in self._errors:
            raise ComponentError(self._errors[name])
        if name in self._given:
            return self._given[name]
        if name not in self._defaults:
            model = options_model("plugin", name, self._locations[name])
            self._defaults[name] = validate(model, {}, f"plugins.{name}")
        return self._defaults[name]

    def __contains__(self, name: object) -> bool:
        return name in self._locations and self._is_readable(str(name))

    def __iter__(self) -> Iterator[str]:
        return filter(self._is_readable, self._locations)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _is_readable(self, name: str) -> bool:
        try:
            return self[name] is not None
        except VQError:
            return False

    def dump(self) -> dict[str, dict[str, Any]]:
        """Plain values of the plugins of which an option was given, with all their options."""
        given = {name: each.model_dump(mode="json") for name, each in self._given.items()}
        return given | self._unread

    def mapped(self, change: Callable[[ComponentConfig, str], ComponentConfig]) -> PluginSettings:
        """The same with changed settings: ``change`` is given those that are set, and their key."""
        changed = copy.copy(self)
        changed._given = {
            name: change(each, f"plugins.{name}") for name, each in self._given.items()
        }
        return changed

    def idle_options(self) -> Iterator[str]:
        """A sentence about each option that is set but cannot act."""
        for name in self._turned_off:
            yield f"plugins.{shown_key(name)}: kept, without effect: this plugin is turned off"
        for name, settings in self._given.items():
            yield from idle_sentences(settings, f"plugins.{name}")


def with_settings(registry: Registry) -> list[str]:
    """The names of the plugins that have settings, sorted."""
    return sorted({plugin.plugin for plugin in registry.plugins if plugin.settings})


def settings_model(registry: Registry, name: str) -> type[ComponentConfig]:
    """The model of a plugin's settings, imported.

    Raises:
        ComponentError: if there is no such plugin, it has no settings or broken ones, or another
            one of this name has settings, too.
    """
    return options_model("plugin", name, _location(registry, name))


def _location(registry: Registry, name: str) -> str:
    """Where the model of a plugin's settings is."""
    called = _called(registry, name)
    found = [plugin for plugin in called if plugin.settings]
    if len(found) > 1:
        packages = " and ".join(plugin.package for plugin in found)
        text = f"{packages} each have a plugin of this name with settings; disable one"
        raise ComponentError(f"plugins.{shown_key(name)}: {text}")
    if found:
        return str(found[0].settings)
    known = with_settings(registry)
    broken = [each for each in called if each.status not in ("ok", "clash")]
    text = "this plugin has no settings" if called else "no such plugin"
    guess = did_you_mean(name, known) or f"plugins with settings: {', '.join(known) or 'none'}"
    first = "this plugin is not loaded" if broken else f"{text}; {guess}"
    lines = [f"plugins.{shown_key(name)}: {first}"]
    lines += [f"{each.plugin} of {each.package} ({each.status}): {each.error}" for each in broken]
    lines += registry.recorded_lines("plugin", name)
    raise ComponentError("\n  ".join([*lines, f"plugins.{shown_key(name)} = null leaves it out"]))


def _called(registry: Registry, name: str) -> list[Plugin]:
    return [plugin for plugin in registry.plugins if plugin.plugin == name]


def _is_turned_off(registry: Registry, name: str) -> bool:
    """Whether the user wants a plugin of this name not to be loaded, and no other has settings."""
    called = _called(registry, name)
    off = any(plugin.status == "disabled" for plugin in called)
    return off and not any(plugin.settings for plugin in called)


def _validated(registry: Registry, name: str, options: Mapping[str, Any]) -> ComponentConfig:
    model, path = settings_model(registry, name), f"plugins.{name}"
    options = with_new_names(model, options, path, warn=not registry.record.providers)
    settings: ComponentConfig = validate(model, options, path)
    return settings
