"""What plugins.json and ``vq list-plugins --json`` hold. Torch-free."""

from __future__ import annotations

from typing import Any

from vqcore.plugin.loader import Plugin
from vqcore.plugin.registry import Registry


def plugin_rows(registry: Registry, kind: str | None = None) -> list[dict[str, Any]]:
    """Every plugin: how loading went, and the components of this kind, or of all, it provides."""
    return [_row(plugin, kind) for plugin in registry.plugins]


def _row(plugin: Plugin, kind: str | None) -> dict[str, Any]:
    provides = [
        {"kind": each, "name": spec.name, "summary": spec.summary}
        for each, specs in plugin.provides.items()
        for spec in specs
        if kind in (None, each)
    ]
    return {
        "plugin": plugin.plugin,
        "package": plugin.package,
        "version": plugin.version,
        "api": plugin.api,
        "status": plugin.status,
        "error": plugin.error,
        "provides": provides,
    }
