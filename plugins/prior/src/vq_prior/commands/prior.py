"""``vq prior``: a transformer over the codes of a run, to sample from and to say how many bits the codes take."""

from typing import Annotated, Any

import typer

from vq.cli.arguments import RunArgument


def prior(
    run: RunArgument,
    layers: Annotated[int | None, typer.Option(help="Transformer blocks.")] = None,
    width: Annotated[int | None, typer.Option(help="Size of a position's vector.")] = None,
    heads: Annotated[
        int | None, typer.Option(help="Heads of the attention, a divisor of the width.")
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="Dropout in training.")] = None,
    tied: Annotated[
        bool, typer.Option(help="One table for tokens in and probabilities out.")
    ] = True,
    epochs: Annotated[int | None, typer.Option(help="Passes over the codes at most.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Passes without progress after which it stops.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Largest learning rate.")] = None,
    weight_decay: Annotated[float, typer.Option(help="Weight decay.")] = 0.1,
    batch_size: Annotated[int, typer.Option(help="Sequences in a step.")] = 64,
    classes: Annotated[
        bool, typer.Option("--classes", help="Learn each class of the data apart.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Train over a prior that is still of use.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="Device; the run's own by default.")] = None,
) -> None:
    """Train a prior over the codes of a run; vq sample draws from it.

    What is left out is decided by the amount of data. It stops when codes set aside are predicted no better; Ctrl-C
    keeps the best so far.
    """
    given = {
        name: value
        for name, value in locals().items()
        if name not in ("run", "overwrite", "device")
    }
    from vq_prior.prior_config import PriorConfig
    from vqcore.plugin.registry import validate

    config = validate(PriorConfig, given, "")
    from rich.console import Console

    from vq.runs.trained_run import load_run
    from vq_prior.run import make_prior

    console = Console()
    trained = load_run(run, device)

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    made = make_prior(
        trained, config, overwrite=overwrite, say=say, report=lambda line: say(_progress(line))
    )
    console.print(_table(made.figures))
    best = min(made.lines, key=lambda line: line["aside_bits"])["epoch"]
    say(f"{'interrupted; ' * bool(made.exit_code)}best after epoch {best}, kept in {made.folder}")
    raise typer.Exit(made.exit_code)


def _progress(line: dict[str, Any]) -> str:
    bits = f"train {line['train_bits']:.3f}, set aside {line['aside_bits']:.3f} bits per token"
    return f"epoch {line['epoch']}  {bits}  {line['seconds']:.0f} s"


_ROWS = {
    "prior, held-out": "bits_per_token",
    "prior, training": "train_bits_per_token",
    "by frequency, held-out": "unigram_bits_per_token",
    "as they are": "uniform_bits_per_token",
}


def _table(figures: dict[str, float]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    unit = next(name for name in figures if name in ("bits_per_pixel", "bits_per_value"))
    scale = figures[unit] / figures["bits_per_token"]
    table = Table("codes", "bits per token", unit.replace("_", " "), box=SIMPLE_HEAD)
    for name, key in _ROWS.items():
        table.add_row(name, f"{figures[key]:.3f}", f"{figures[key] * scale:.3f}")
    return table
