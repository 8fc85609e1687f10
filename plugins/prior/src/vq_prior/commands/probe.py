"""``vq probe``: how well a linear classifier tells the class of a sample from its codes."""

import sys
from typing import Annotated, Any

import typer

from vq.cli.arguments import RunArgument


def probe(
    run: RunArgument,
    samples: Annotated[int, typer.Option(min=10, help="Training samples used at most.")] = 10_000,
    seeds: Annotated[
        int, typer.Option(min=1, help="Repetitions, each with its own choice of samples.")
    ] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    device: Annotated[str | None, typer.Option(help="Device; the run's own by default.")] = None,
) -> None:
    """Classify samples by their codes, linearly, and for comparison by their pixels."""
    from rich.console import Console

    from vq.runs.trained_run import load_run
    from vq_prior.probe import probe_run

    trained = load_run(run, device)
    if as_json:
        import json

        sys.stdout.write(json.dumps(probe_run(trained, samples, seeds), indent=2) + "\n")
        return
    console = Console()
    with console.status("reading the data set") as status:
        found = probe_run(
            trained, samples, seeds, say=lambda text: status.update(f"probing {text}")
        )
    console.print(_table(found["rows"]))
    used = f"{found['train_samples']} training and {found['test_samples']} held-out samples"
    console.print(f"{found['classes']} classes, {used}, {found['seeds']} seeds", highlight=False)


def _table(rows: list[dict[str, Any]]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        "linear classifier on",
        "features",
        "held-out accuracy",
        "sd of seeds",
        "standard error",
        box=SIMPLE_HEAD,
    )
    for row in rows:
        spread = "" if row["spread"] is None else f"{row['spread']:.4f}"
        size = str(row["size"] or "")
        table.add_row(
            row["features"], size, f"{row['accuracy']:.4f}", spread, f"{row['error']:.4f}"
        )
    return table
