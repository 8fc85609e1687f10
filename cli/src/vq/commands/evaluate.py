"""``vq evaluate``: held-out figures of a run, from its latest checkpoint."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vq.commands.common import registry_for


def evaluate(
    run: Annotated[Path, typer.Argument(help="The run folder.", metavar="RUN")],
    device: Annotated[str | None, typer.Option(help="Device; the run's own by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Evaluate a run on its held-out split."""
    from vq.pipeline.evaluate import evaluate_run

    figures = evaluate_run(run, registry_for, device)
    if as_json:
        import json

        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        from rich.console import Console

        from vq.pipeline.tables import figures_table

        Console().print(figures_table(figures))
