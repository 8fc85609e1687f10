"""The table of an experiment: mean and spread over seeds, beside the paper's own values."""

from __future__ import annotations

from collections.abc import Sequence

from vq_papers.experiment import Column
from vq_papers.results import Results, RowResult


def table(results: Results, columns: Sequence[Column], *, bold: str = "") -> list[list[str]]:
    """A header, and a row for each row of the experiment.

    A column that no run has is left out. One that the paper has too is followed by the paper's.

    Args:
        results: of the experiment.
        columns: of its table.
        bold: what stands on both sides of a column's best mean.
    """
    found: list[list[str]] = [["", *(row.label for row in results.rows)]]
    for column in columns:
        if any(row.values(column.key) for row in results.rows):
            best = _best(results, column)
            cells = [_cell(row, column, bold if row is best else "") for row in results.rows]
            found.append([column.heading, *cells])
        if any(column.key in row.published for row in results.rows):
            published = [row.published.get(column.key, "") for row in results.rows]
            found.append([f"{column.heading} (paper)", *published])
    return [list(cells) for cells in zip(*found, strict=True)]


def markdown(results: Results, columns: Sequence[Column]) -> str:
    """The table in Markdown, with a line that says where it comes from."""
    header, *rows = table(results, columns, bold="**")
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]
    return "\n".join([*lines, "", origin(results)])


def origin(results: Results) -> str:
    """The command, the seeds, the machine and the time of these results, in a sentence."""
    seeds = sorted({len(row.runs) for row in results.rows if row.trained})
    count = " to ".join(str(each) for each in (seeds[0], seeds[-1])[: len(set(seeds))])
    several = "s, mean ± standard deviation" if seeds[-1] > 1 else ""
    machine = results.machine
    where = f"{machine.get('device_name', 'unknown')}, {machine.get('cpus', '?')} cores"
    torch = machine.get("packages", {}).get("torch", "?")
    minutes = f"{results.seconds / 60:.0f} min of training in all"
    return f"`{results.command}`, {count} seed{several}; {where}, torch {torch}; {minutes}."


def _best(results: Results, column: Column) -> RowResult | None:
    rows = [row for row in results.rows if row.trained and row.values(column.key)]
    if column.best is None or len(rows) < 2:
        return None
    choose = max if column.best == "high" else min
    return choose(rows, key=lambda row: row.mean(column.key) or 0.0)


def _cell(row: RowResult, column: Column, bold: str) -> str:
    mean, spread = row.mean(column.key), row.spread(column.key)
    if mean is None:
        return ""
    digits = f".{column.digits}f"
    return f"{bold}{mean:{digits}}{bold}" + ("" if spread is None else f" ± {spread:{digits}}")
