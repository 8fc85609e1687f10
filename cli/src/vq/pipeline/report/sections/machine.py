"""On what it ran: versions, device, plugins."""

from __future__ import annotations

from collections.abc import Sequence

from vq.pipeline.report.run import ReportedRun, each_run
from vq.pipeline.report.sections.settings import flatten, written
from vqcore.report import Block, Section, Strong, Table, Text


def machine(runs: Sequence[ReportedRun]) -> Section:
    """The contents of status.json, env.json and plugins.json."""
    return Section("Status, environment, plugins", each_run(runs, _of_one))


def _of_one(run: ReportedRun) -> list[Block]:
    status = run.json("status")
    blocks: list[Block] = [Text(f"{run.folder.path.name}: {run.state}.")]
    if status.get("error"):
        blocks.append(Text(f"It ended with: {status['error']}"))
    environment = [[key, written(value)] for key, value in flatten(run.json("env"))]
    if environment:
        blocks.append(Table(["environment", ""], environment, folded="Environment"))
    plugins = run.json("plugins")
    if plugins:
        rows = [[row["plugin"], row["package"], row["version"] or "", _status(row)] for row in plugins]
        blocks.append(Table(["plugin", "package", "version", "status"], rows, folded=f"{len(rows)} plugins"))
    return blocks


def _status(row: dict) -> str:
    return row["status"] if row["status"] == "ok" else Strong(f"{row['status']}: {row['error'] or ''}")
