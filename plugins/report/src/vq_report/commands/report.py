"""``vq report``: one HTML file that shows what runs did."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders: one, or several side by side.", metavar="RUN..."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The file; RUN/report.html, or ./report.html of several.",
            metavar="FILE",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where models are looked at: auto, cpu, cuda, cuda:1.")
    ] = "auto",
) -> None:
    """Write one self-contained HTML file on a run, or on several side by side."""
    from vq_report.write import write_report

    def warn(text: str) -> None:
        print(f"warning: {text}", file=sys.stderr)

    path = write_report(runs, output, device, warn)
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
