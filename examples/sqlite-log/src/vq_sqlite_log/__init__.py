"""The metrics of runs in SQLite."""
