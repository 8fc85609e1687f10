"""What there is to know of a plugin, as plain values for ``vq show plugin``. Torch-free."""

from __future__ import annotations

from typing import Any

from vq.cli.plugin_wants import wants
from vq.runs.plugin_rows import plugin_rows
from vqcore.errors import UsageError, did_you_mean, shown
from vqcore.plugin.loader import Plugin
from vqcore.plugin.plugin_settings import settings_model
from vqcore.plugin.registry import Registry


def plugins_by_name(registry: Registry) -> dict[str, tuple[Plugin, dict[str, Any]]]:
    """Every plugin and its row, by its name; by ``package/name`` where others have the same."""
    names = [plugin.plugin for plugin in registry.plugins]
    return {
        plugin.plugin if names.count(plugin.plugin) == 1 else f"{plugin.package}/{plugin.plugin}": (
            plugin,
            row,
        )
        for plugin, row in zip(registry.plugins, plugin_rows(registry), strict=True)
    }


def about_plugin(registry: Registry, name: str) -> dict[str, Any]:
    """A plugin with what it wants, its components, presets, hooks and settings.

    Raises:
        UsageError: if there is none of this name.
        ComponentError: if its settings are broken.
    """
    from vqcore.plugin.option_rows import option_rows

    known = plugins_by_name(registry)
    if name not in known:
        guess = did_you_mean(name, known) or f"expected one of {', '.join(known)}"
        raise UsageError(f"plugin = {shown(name)}: no such plugin; {guess}")
    plugin, row = known[name]
    model = settings_model(registry, plugin.plugin) if plugin.settings else None
    return {
        **row,
        **wants(plugin).values(),
        "presets": [{"name": spec.name, "summary": spec.summary} for spec in plugin.presets],
        "hooks": hooks_of(registry, plugin),
        "settings": [
            {"key": f"plugins.{plugin.plugin}.{option['name']}", **option}
            for option in (option_rows(model) if model else ())
        ],
    }


def hooks_of(registry: Registry, plugin: Plugin) -> list[str]:
    """The hooks that a plugin implements, sorted; none if it is not loaded."""
    module = registry.manager.get_plugin(f"{plugin.package}:{plugin.plugin}")
    callers = registry.manager.get_hookcallers(module) if module is not None else None
    return sorted(caller.name for caller in callers or ())
