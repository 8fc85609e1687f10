"""``vq compare``: several runs side by side."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from vqcore.errors import SettingError, UsageError


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", metavar="RUN...")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Also the curves of all runs, as a .png file.", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Compare runs: the settings that differ, and the held-out figures with the best marked.

    Runs that are not finished show the figures they logged last.
    """
    from vq.runs.files import check_free, new_file
    from vq_report import comparison as comparing

    if as_json and as_csv:
        raise UsageError("--json and --csv: choose one")
    if output is not None:
        if output.suffix != ".png":
            raise SettingError("--output", str(output), "a name that ends in .png")
        check_free(output)
    found = comparing.compare(runs)
    if output is not None:
        from vq_report.plots.comparison import comparison_png

        with new_file(output) as file:
            file.write_bytes(comparison_png({run.name: run.lines for run in found.runs}))
    if as_json:
        import json

        sys.stdout.write(json.dumps(found.values(), indent=2) + "\n")
    elif as_csv:
        sys.stdout.write(found.csv())
    else:
        _print(found)


#: Runs that stand side by side; more stand below each other, without the figures that are alike.
_BESIDE = 5


def _print(found: Any) -> None:
    from rich.console import Console

    from vq.cli.tables import fitting_tables

    rows = _rows(found)
    if len(found.runs) > _BESIDE:
        rows = [rows[0], *(row for row in rows[1:] if len(set(row[1:])) > 1)]
        rows = [list(column) for column in zip(*rows, strict=True)]
    console = Console()
    console.print(*fitting_tables(rows, console.width))
    if not found.same_data:
        console.print(
            "no best is marked: these runs were judged on different data", highlight=False
        )


def _rows(found: Any) -> list[list[str]]:
    """The runs' names, then a row for each setting that differs and for each figure, the best with a star."""
    from rich.markup import escape

    rows = [["", *(escape(run.name) for run in found.runs)]]
    if any(run.status != "done" for run in found.runs):
        rows.append(["status", *(f"{run.status}, step {run.step}" for run in found.runs)])
    for key in found.settings:
        rows.append([key, *(escape(_text(run.settings.get(key))) for run in found.runs)])
    for name in found.figures:
        best = found.best.get(name, ())
        cells = [_text(run.figures.get(name)) for run in found.runs]
        rows.append(
            [
                name,
                *(
                    f"[bold]{c} *[/]" if r.name in best else c
                    for r, c in zip(found.runs, cells, strict=True)
                ),
            ]
        )
    return rows


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
