"""``vq compare``: several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vq.cli.console import print_json, say
from vqcore.errors import SettingError, UsageError

if TYPE_CHECKING:
    from rich.text import Text

    from vq_report.comparison import Comparison

#: Up to this many runs are columns; more are rows, without the metrics that are equal in all.
MAX_COLUMNS = 5


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", metavar="RUN...")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Also plot the curves of all runs, as a .png.", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Compare the settings and held-out metrics of runs.

    Shows the settings that differ, and marks the best of each metric. Unfinished runs show the
    metrics they logged last.
    """
    from vq.files import check_free, new_file
    from vq_report.comparison import compare as compare_runs

    if as_json and as_csv:
        raise UsageError("--json and --csv: choose one")
    if output is not None:
        if output.suffix != ".png":
            raise SettingError("--output", str(output), "a name that ends in .png")
        check_free(output)
    comparison = compare_runs(runs)
    if output is not None:
        from vq_report.plots.comparison import comparison_png

        with new_file(output) as file:
            file.write_bytes(comparison_png(comparison.runs))
    if as_json:
        print_json(comparison.values())
    elif as_csv:
        say(comparison.csv().removesuffix("\n"))
    else:
        _print(comparison)


def _print(comparison: Comparison) -> None:
    from vq.cli.tables import fitting_tables
    from vq.terminal import Terminal

    rows = _rows(comparison)
    if len(comparison.runs) > MAX_COLUMNS:
        rows = [rows[0], *(row for row in rows[1:] if len(set(map(str, row[1:]))) > 1)]
        rows = [list(column) for column in zip(*rows, strict=True)]
    console = Terminal()
    console.print(*fitting_tables(rows, console.width))
    if not comparison.same_data:
        say("no best is marked: these runs were evaluated on different data")


def _rows(comparison: Comparison) -> list[list[str | Text]]:
    """The names of the runs, then a row per differing setting and per metric, best with a star."""
    from rich.text import Text

    runs = comparison.runs
    rows: list[list[str | Text]] = [["", *(run.name for run in runs)]]
    if any(run.status != "done" for run in runs):
        rows.append(["status", *(f"{run.status}, step {run.step}" for run in runs)])
    for key in comparison.settings:
        rows.append([key, *(_text(run.settings.get(key)) for run in runs)])
    for name in comparison.metrics:
        cells: list[str | Text] = [_text(run.metrics.get(name)) for run in runs]
        for number, run in enumerate(runs):
            if run.name in comparison.best.get(name, ()):
                cells[number] = Text(f"{cells[number]} *", "bold")
        rows.append([name, *cells])
    return rows


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
