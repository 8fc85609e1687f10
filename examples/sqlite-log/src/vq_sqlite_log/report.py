"""The section of ``vq report``."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from vqcore.plugin.report_section import Block, Section, Table, Text

from vq_sqlite_log import database

HEAD = ("began", "after step", "ended", "at step", "status")
#: Sessions shown, the latest ones.
SHOWN = 20


def section(path: Path) -> Section:
    """The sessions of a run, of a database that may be damaged."""
    try:
        with database.reading(path) as db:
            sessions = db.execute("SELECT * FROM sessions ORDER BY rowid DESC LIMIT ?", [SHOWN])
            rows = [["" if cell is None else str(cell) for cell in row] for row in sessions]
            (lines,) = db.execute("SELECT count(DISTINCT step) FROM metrics").fetchone()
    except sqlite3.Error as error:
        return Section("SQLite log", [Text(f"{path.name} cannot be read: {error}.")])
    blocks: list[Block] = [Table(HEAD, rows), Text(f"{path} has the metrics of {lines} steps.")]
    return Section("SQLite log", blocks, lead="Each call of vq train, the latest first.")
