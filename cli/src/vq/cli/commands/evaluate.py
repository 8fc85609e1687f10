"""``vq evaluate``: held-out figures of a run, from its latest checkpoint."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vq.cli.arguments import RunArgument


def evaluate(
    run: RunArgument,
    device: Annotated[str | None, typer.Option(help="Device; the run's own by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    lpips: Annotated[
        Path | None,
        typer.Option(
            help="Also LPIPS, with torchvision's weights from this file.", metavar="WEIGHTS"
        ),
    ] = None,
    fid: Annotated[
        Path | None,
        typer.Option(
            help="Also FID, with torch-fidelity's weights from this file.", metavar="WEIGHTS"
        ),
    ] = None,
) -> None:
    """Evaluate a run on its held-out split. Nothing is downloaded."""
    from vq.evaluation.evaluate_run import evaluate_run

    figures = evaluate_run(run, device, lpips=lpips, fid=fid)
    if as_json:
        import json

        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        from rich.console import Console

        from vq.cli.tables import figures_table

        about = {
            name: figures.pop(name) for name in ("dataset", "shape", "value_range", "versions")
        }
        Console().print(figures_table(figures))
        low, high = about["value_range"]
        sides, made_by = (
            " x ".join(map(str, about["shape"])),
            ", ".join(map(" ".join, about["versions"].items())),
        )
        text = f"{about['dataset']['name']}: samples of {sides} in [{low:g}, {high:g}]; {made_by}"
        Console().print(text, highlight=False, soft_wrap=True, style="dim")
