"""``vq encode``: pictures or arrays as the indices of a run's codes."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vq.cli.arguments import RunArgument


def encode(
    run: RunArgument,
    path: Annotated[
        Path,
        typer.Argument(
            help="A folder of pictures, a picture, a .npy or .npz file; train or test for the run's own data.",
            metavar="PATH",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder of indices.", metavar="OUT")
    ],
    file_format: Annotated[
        Literal["npz", "safetensors"], typer.Option("--format", help="Of the shards.")
    ] = "npz",
    shard_size: Annotated[int, typer.Option(min=1, help="Samples in a shard.")] = 10_000,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples encoded at a time.")] = 256,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read pictures ahead.")] = 2,
    key: Annotated[
        str | None, typer.Option(help="Which array of a .npz file; x or the only one by default.")
    ] = None,
    layout: Annotated[
        Literal["auto", "NCHW", "NHWC"],
        typer.Option(help="Where the channels of arrays are.", metavar="NCHW|NHWC"),
    ] = "auto",
    device: Annotated[str | None, typer.Option(help="Device; the run's own by default.")] = None,
) -> None:
    """Write the indices of every sample, in shards beside a manifest.

    Stopped at any moment, the same command goes on with the next shard. Files that cannot be read are left out and
    listed in the manifest.
    """
    from rich.console import Console

    from vq.cli.progress import SampleProgress
    from vq.interrupt import Interrupt
    from vq.runs.trained_run import load_run
    from vq.tokens.encode import encode as write
    from vq.tokens.inputs import read

    console = Console()
    trained = load_run(run, device)
    reading = read(trained, path, workers, key=key, layout=layout)
    with SampleProgress(console, "encoding") as progress, Interrupt() as interrupt:
        sizes = {"shard_size": shard_size, "batch_size": batch_size}
        calls = {"report": progress.report, "stopped": lambda: interrupt.number is not None}
        manifest = write(trained, reading, output, file_format=file_format, **sizes, **calls)
    if not manifest.complete:
        console.print(
            f"interrupted; the same command goes on: {output}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(interrupt.exit_code)
    skipped, names = list(manifest.skipped), manifest.names
    if skipped:
        some = ", ".join(skipped[:3]) + (", ..." if len(skipped) > 3 else "")
        text = f"{len(skipped)} of {len(skipped) + len(names)} files cannot be read and are left out ({some})"
        console.print(f"{text}: the manifest says why", highlight=False, soft_wrap=True)
    shape = " x ".join(map(str, manifest.index_shape)) or "1"
    text = f"{len(names)} samples of {shape} indices below {manifest.codebook_size}, as {manifest.dtype}"
    console.print(
        f"{text}, in {len(manifest.shards)} shards: {output}", highlight=False, soft_wrap=True
    )
