"""Builds every component once, to find the broken ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from vq.requirements import unmet
from vqcore.errors import ComponentError, VQError
from vqcore.plugin.component import KINDS, ComponentSpec
from vqcore.plugin.loader import Plugin
from vqcore.plugin.registry import Registry


def broken_components(registry: Registry, kind: str | None = None) -> list[str]:
    """A message for each component that cannot be resolved or built with its defaults."""
    from vqcore.testing.components import fitting

    failures = []
    for each, plugin, spec in _provided(registry, kind):
        label = f"{each} {spec.name!r} of {plugin.package}"
        try:
            chosen = registry.resolve(each, f"{plugin.package}/{spec.name}")
            next(fitting(registry, chosen))
        except ComponentError as error:
            failures.append(str(error))
        except VQError as error:
            if each not in ("dataset", "loss"):  # missing data and weights do not make it broken
                failures.append(f"{label}: {error}")
    return failures


def notes(registry: Registry, kind: str | None = None) -> list[str]:
    """What does not stop a plugin and should be mended; called before torch is imported."""
    found = [
        f"plugin {plugin.plugin} of {plugin.package} {note}"
        for plugin in registry.plugins
        for note in (*plugin.notes, *plugin.earlier, *unmet(plugin.package))
    ]
    for each, plugin, spec in _provided(registry, kind):
        without_torch = "torch" not in sys.modules
        try:
            registry.resolve(each, f"{plugin.package}/{spec.name}")
        except VQError:
            continue  # broken, which ``broken_components`` reports
        if without_torch and "torch" in sys.modules and plugin.version != "file":
            label = f"{each} {spec.name!r} of {plugin.package}"
            found.append(f"{label}: importing {spec.config} imports torch, which slows dry runs")
    return found


def _provided(registry: Registry, kind: str | None) -> Iterator[tuple[str, Plugin, ComponentSpec]]:
    for each in [kind] if kind else KINDS:
        for plugin in registry.plugins:
            for spec in plugin.provides.get(each, ()):
                yield each, plugin, spec
