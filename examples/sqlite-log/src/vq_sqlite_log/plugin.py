"""Writes the metrics of each run into ``plugins/sqlite-log/metrics.db`` in its folder.

Every hook opens the database and closes it again: a run that fails or is killed leaves a database
that is whole, and nothing has to be kept for several runs in one process.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vqcore import hookimpl

from vq_sqlite_log import database

if TYPE_CHECKING:
    from vqcore.plugin.protocols import ReportedRun, RunFolder, TrainingRun
    from vqcore.plugin.report_section import Section

VQ_API = 1


def _path(folder: RunFolder) -> Path:
    return folder.plugin("sqlite-log").path / "metrics.db"


@hookimpl
def vq_settings() -> str:
    """The settings ``plugins.sqlite-log``."""
    return "vq_sqlite_log.config:SqliteLogConfig"


@hookimpl
def vq_run_start(run: TrainingRun) -> None:
    """Begin a session. Lines of steps that a resumed run repeats are dropped."""
    with database.writing(_path(run.folder)) as db:
        database.begin(db, run.step)


@hookimpl
def vq_log(run: TrainingRun, metrics: Mapping[str, Any]) -> None:
    """Add a line of ``metrics.jsonl``, or what the settings choose of it."""
    chosen = run.config.plugins["sqlite-log"].names
    numbers = {
        name: value
        for name, value in metrics.items()
        if isinstance(value, int | float) and (chosen is None or name in chosen)
    }
    with database.writing(_path(run.folder)) as db:
        database.add(db, metrics["step"], numbers)


@hookimpl
def vq_run_end(run: TrainingRun, status: Literal["done", "failed", "interrupted"]) -> None:
    """End the session."""
    with database.writing(_path(run.folder)) as db:
        database.end(db, run.step, status)


@hookimpl
def vq_report(run: ReportedRun) -> list[Section]:
    """The sessions of the run, and where the database is."""
    from vq_sqlite_log.report import section

    path = _path(run.folder)
    return [section(path)] if path.is_file() else []
