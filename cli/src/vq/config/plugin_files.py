"""Plugins in files of their own: which a config names, and a registry that holds them. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqcore.errors import ComponentError, UsageError
from vqcore.plugin.registry import Registry, default_registry


def plugin_files(values: Mapping[str, Any]) -> list[Path]:
    """The plugin files that plain values name: needed before there is a registry to validate them with.

    Raises:
        UsageError: if it is no list of paths.
    """
    files = values.get("plugin_files") or []
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise UsageError(f"plugin_files = {files!r}: expected a list of files")
    return [Path(file) for file in files]


def registry_for(files: Sequence[Path] = (), *, tolerant: bool = False) -> Registry:
    """The installed plugins, and the given files beside them.

    Raises:
        ComponentError: if a file cannot be loaded, since it was asked for; ``tolerant`` leaves it in the list.
    """
    if not files:
        return default_registry()
    registry = Registry(files=[file.resolve() for file in files])
    broken = [
        p for p in registry.plugins if p.version == "file" and p.status in ("error", "incompatible")
    ]
    if broken and not tolerant:
        lines = [f"--plugin-file {p.package} is not loaded ({p.status}): {p.error}" for p in broken]
        raise ComponentError("\n".join(lines))
    return registry
