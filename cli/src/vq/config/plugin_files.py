"""Plugin files named by a config, and a registry that includes them. Torch-free."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqcore.errors import ComponentError, UsageError, shown
from vqcore.plugin.registry import Registry, default_registry


def plugin_files(values: Mapping[str, Any]) -> list[Path]:
    """The plugin files that unvalidated settings name; validation needs a registry that has them.

    Raises:
        UsageError: if the setting is not a list of paths.
    """
    files = values.get("plugin_files") or []
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise UsageError(f"plugin_files = {shown(files)}: expected a list of files")
    return [Path(file) for file in files]


def absolute_files(files: Any) -> Any:
    """Plugin files by absolute paths, links followed; what is no list of paths stays as it is."""
    if not isinstance(files, list | tuple):
        return files
    # not Path.resolve: before Python 3.13 it raises RuntimeError where links run in a circle
    return [os.path.realpath(file) if isinstance(file, str | Path) else file for file in files]


def registry_for(files: Sequence[Path] = (), *, tolerant: bool = False) -> Registry:
    """A registry of the installed plugins and the given plugin files.

    Raises:
        ComponentError: if a file cannot be loaded; ``tolerant`` lists it as broken instead.
    """
    if not files:
        return default_registry()
    registry = Registry(files=map(Path, absolute_files(list(files))))
    broken = [
        f"--plugin-file {plugin.package} is not loaded ({plugin.status}): {plugin.error}"
        for plugin in registry.plugins
        if plugin.version == "file" and plugin.status in ("error", "incompatible")
    ]
    if broken and not tolerant:
        raise ComponentError("\n".join(broken))
    return registry
