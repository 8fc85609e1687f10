"""The database: what it holds, and how it is written and read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

#: A session is one call of ``vq train``; ``status`` is NULL while it lasts, and if it was killed.
TABLES = """
CREATE TABLE IF NOT EXISTS metrics (
    step INTEGER, name TEXT, value REAL, PRIMARY KEY (step, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (
    began TEXT, first_step INTEGER, ended TEXT, last_step INTEGER, status TEXT
);
"""


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection; what is written inside is stored as a whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as db, db:
        yield db


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a file that somebody else may have made: it is not changed or trusted."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        db.execute("PRAGMA trusted_schema = OFF")
        yield db


def begin(db: sqlite3.Connection, step: int) -> None:
    """Begin a session after ``step`` steps, and drop what was logged after them."""
    db.executescript(TABLES)
    db.execute("DELETE FROM metrics WHERE step > ?", [step])
    db.execute("INSERT INTO sessions (began, first_step) VALUES (?, ?)", [_now(), step])


def add(db: sqlite3.Connection, step: int, numbers: Mapping[str, float]) -> None:
    """Add metrics of a step."""
    rows = [(step, name, value) for name, value in numbers.items() if name != "step"]
    db.executemany("INSERT OR REPLACE INTO metrics VALUES (?, ?, ?)", rows)


def end(db: sqlite3.Connection, step: int, status: str) -> None:
    """End the latest session."""
    latest = "(SELECT max(rowid) FROM sessions)"
    values = [_now(), step, status]
    db.execute(
        f"UPDATE sessions SET ended = ?, last_step = ?, status = ? WHERE rowid = {latest}", values
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
