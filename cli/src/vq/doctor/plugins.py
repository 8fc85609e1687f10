"""The plugins: which are broken, why, and what to do."""

from __future__ import annotations

import re

from vq.doctor.finding import Finding, Problem
from vqcore.errors import did_you_mean
from vqcore.plugin.loader import DISABLE_VARIABLE, Plugin, disabled_names
from vqcore.plugin.registry import Registry


def plugins(registry: Registry) -> Finding:
    """Each plugin with its status; those that are not loaded are broken, unless turned off."""
    rows = [
        {name: getattr(each, name) for name in ("plugin", "package", "version", "status", "error")}
        for each in registry.plugins
    ]
    problems = [problem for each in registry.plugins for problem in _problems(each)]
    return Finding(rows, [*problems, *_turned_off(registry)])


def _problems(plugin: Plugin) -> list[Problem]:
    label = f"plugin {plugin.plugin} of {plugin.package}"
    found = [
        Problem("warning", f"{label} {note}", "tell its author; vq list-plugins --check says more")
        for note in (*plugin.notes, *plugin.earlier)
    ]
    if plugin.status == "clash":
        found.append(Problem("warning", f"{label}: {plugin.error}", "name the package too"))
    elif plugin.status not in ("ok", "disabled"):
        text = f"{label} is not loaded ({plugin.status}): {plugin.error}"
        found.insert(0, Problem("broken", text, _fix(plugin)))
    return found


def _fix(plugin: Plugin) -> str:
    off = f"turn it off with vq -p no:{plugin.plugin}"
    missing = re.search(r"ModuleNotFoundError: No module named '(\w+)", plugin.error or "")
    if missing:
        return f"install the package of module {missing[1]!r}, or {off}"
    if plugin.package == "?":  # its metadata is damaged
        return f"remove what is left of its package, or install it again; or {off}"
    return f"pip install --upgrade {plugin.package}, or {off}; vq --debug list-plugins says where"


def _turned_off(registry: Registry) -> list[Problem]:
    """Names in the environment variable that mean no plugin."""
    names = {each for plugin in registry.plugins for each in (plugin.plugin, plugin.package)}
    return [
        Problem(
            "warning",
            f"{DISABLE_VARIABLE} names {name!r}, which is no installed plugin",
            did_you_mean(name, sorted(names)) or "leave it out",
        )
        for name in disabled_names()
        if not any(plugin.is_called(name) for plugin in registry.plugins)
    ]
