"""On what it ran: versions, device, plugins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vq.runs.files import read_json
from vq_report.comparison import flat
from vq_report.reported_run import ReportedRun, each_run
from vq_report.sections.settings import written
from vqcore.plugin.report_section import Block, Section, Strong, Table, Text


def machine(runs: Sequence[ReportedRun]) -> Section:
    """The contents of status.json, env.json and plugins.json."""
    return Section("Status, environment, plugins", each_run(runs, _of_one))


def _of_one(run: ReportedRun) -> list[Block]:
    status = read_json(run.folder.status) or {}
    blocks: list[Block] = [Text(f"{run.folder.path.resolve().name}: {run.state}.")]
    if status.get("error"):
        blocks.append(Text(f"It ended with: {status['error']}"))
    environment = [
        [key, written(value)] for key, value in flat(read_json(run.folder.env) or {}).items()
    ]
    if environment:
        blocks.append(Table(["environment", ""], environment, folded="Environment"))
    plugins = [_row(plugin) for plugin in _plugins(run.folder.plugins)]
    if plugins:
        blocks.append(
            Table(
                ["plugin", "package", "version", "status"],
                plugins,
                folded=f"{len(plugins)} plugins",
            )
        )
    return blocks


def _plugins(path: Path) -> list[Mapping[str, Any]]:
    """What plugins.json lists; nothing where it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return (
        [plugin for plugin in found if isinstance(plugin, dict)] if isinstance(found, list) else []
    )


def _row(plugin: Mapping[str, Any]) -> list[str]:
    status = str(plugin.get("status"))
    told = status if status == "ok" else Strong(f"{status}: {plugin.get('error') or ''}")
    return [*(str(plugin.get(name) or "") for name in ("plugin", "package", "version")), told]
