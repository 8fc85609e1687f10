"""How the run ended and what it ran on: status, versions, device, plugins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vq.config.merging import flatten
from vq.files import read_any_json, read_json
from vq_report.reported_run import ReportedRun
from vq_report.sections.settings import as_text
from vqcore.plugin.report_section import Block, Strong, Table, Text

#: Characters of an error that are shown.
LONGEST = 2000


def blocks(run: ReportedRun) -> list[Block]:
    """The contents of status.json, env.json and plugins.json."""
    found: list[Block] = [Text(f"{run.folder.path.resolve().name}: {run.state}.")]
    error = (read_json(run.folder.status) or {}).get("error")
    if error:
        found.append(Text(f"It ended with: {str(error)[:LONGEST]}"))
    environment = flatten(read_json(run.folder.env) or {})
    if environment:
        rows = [[key, as_text(value)] for key, value in environment.items()]
        found.append(Table(["environment", ""], rows, folded="Environment"))
    plugins = [_row(plugin) for plugin in _plugins(run.folder.plugins)]
    if plugins:
        head = ["plugin", "package", "version", "status"]
        found.append(Table(head, plugins, folded=f"{len(plugins)} plugins"))
    return found


def _plugins(path: Path) -> list[Mapping[str, Any]]:
    """The entries of plugins.json; none if it is missing or damaged."""
    entries = read_any_json(path)
    return [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []


def _row(plugin: Mapping[str, Any]) -> list[str]:
    status = str(plugin.get("status"))
    if status != "ok":
        status = Strong(f"{status}: {plugin.get('error') or ''}")
    return [*(str(plugin.get(name) or "") for name in ("plugin", "package", "version")), status]
