"""Plugin files named by a config, and a registry that includes them. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqcore.errors import ComponentError, UsageError
from vqcore.plugin.registry import Registry, default_registry


def plugin_files(values: Mapping[str, Any]) -> list[Path]:
    """The plugin files that unvalidated settings name; validation needs a registry that has them.

    Raises:
        UsageError: if the setting is not a list of paths.
    """
    files = values.get("plugin_files") or []
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise UsageError(f"plugin_files = {files!r}: expected a list of files")
    return [Path(file) for file in files]


def registry_for(files: Sequence[Path] = (), *, tolerant: bool = False) -> Registry:
    """A registry of the installed plugins and the given plugin files.

    Raises:
        ComponentError: if a file cannot be loaded; ``tolerant`` lists it as broken instead.
    """
    if not files:
        return default_registry()
    registry = Registry(files=[file.resolve() for file in files])
    broken = [
        f"--plugin-file {plugin.package} is not loaded ({plugin.status}): {plugin.error}"
        for plugin in registry.plugins
        if plugin.version == "file" and plugin.status in ("error", "incompatible")
    ]
    if broken and not tolerant:
        raise ComponentError("\n".join(broken))
    return registry
