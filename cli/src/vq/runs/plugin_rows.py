"""What plugins.json and ``vq list-plugins --json`` hold. Torch-free."""

from __future__ import annotations

from typing import Any

from vqcore.plugin.loader import Plugin, owner_of
from vqcore.plugin.registry import Registry


def plugin_rows(registry: Registry, kind: str | None = None) -> list[dict[str, Any]]:
    """Every plugin: how loading went, and the components of this kind, or of all, it provides."""
    return [_row(plugin, kind) for plugin in registry.plugins]


def providers(rows: Any) -> dict[tuple[str, str], tuple[str, str]]:
    """Package and version of each component that such rows name, by kind and name.

    By name without the package only where no other has the same. Those of each plugin are there
    too, of the kind ``plugin``. What is damaged is left out.
    """
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for row in rows if isinstance(rows, list) else []:
        try:
            package, version = str(row["package"]), str(row["version"])
            for item in row["provides"]:
                for name in (item["name"], f"{owner_of(package)}/{item['name']}"):
                    key = str(item["kind"]), str(name)
                    found.setdefault(key, set()).add((package, version))
            found.setdefault(("plugin", str(row["plugin"])), set()).add((package, version))
        except (KeyError, TypeError):
            continue
    return {key: made.pop() for key, made in found.items() if len(made) == 1}


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
