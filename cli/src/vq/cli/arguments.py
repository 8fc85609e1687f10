"""What several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vqcore.plugin.loader import Plugin
from vqcore.plugin.registry import Registry

PluginFiles = Annotated[
    list[Path],
    typer.Option(
        "--plugin-file", help="A plugin in a file of its own. Repeatable.", metavar="FILE"
    ),
]


def _run_folder(path: Path) -> Path:
    """Refuse what is no run folder before anything heavy is imported."""
    from vq.runs.folder import RunFolder

    RunFolder.open(path)
    return path


RunArgument = Annotated[
    Path, typer.Argument(help="The run folder.", metavar="RUN", callback=_run_folder)
]


def plugin_rows(registry: Registry, kind: str | None = None) -> list[dict[str, Any]]:
    """Every plugin as plain values: how loading went, and what it provides."""
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
