"""``vq sample``: new samples, from the prior over a run's codes."""

from pathlib import Path
from typing import Annotated

import typer

from vq.cli.arguments import RunArgument


def sample(
    run: RunArgument,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Samples.")] = 64,
    temperature: Annotated[
        float, typer.Option(help="Below 1 likelier codes; 0 the likeliest.")
    ] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Draw from the k likeliest codes only.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the likeliest codes of this probability.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--class", help="One class; all in turn by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A .png or .npy file, else in RUN/prior.", metavar="FILE"
        ),
    ] = None,
    indices: Annotated[
        Path | None, typer.Option(help="Also the codes, as a .npy file.", metavar="FILE")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Device; the run's own by default.")] = None,
) -> None:
    """Draw samples from a run's prior: a grid of pictures, or arrays. The same seed gives the same samples."""
    from rich.console import Console

    from vq.runs.trained_run import load_run
    from vq_prior.write import Wanted, write_samples

    trained = load_run(run, device)
    wanted = Wanted(count, seed, temperature, top_k, top_p, label)
    path = write_samples(trained, wanted, output, indices)
    Console().print(f"{count} samples: {path}", highlight=False, soft_wrap=True)
