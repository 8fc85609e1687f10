"""``vq decode``: indices as the pictures or arrays that a run's model makes of them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vq.cli.arguments import RunArgument


def decode(
    run: RunArgument,
    tokens: Annotated[
        Path,
        typer.Argument(
            help="A folder from vq encode, or a .npz, .safetensors or .npy file.", metavar="TOKENS"
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="A folder of PNG files, or a .npy file.", metavar="OUT"
        ),
    ],
    file_format: Annotated[
        Literal["png", "npy"] | None,
        typer.Option("--format", help="By default what OUT and the samples say."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples decoded at a time.")] = 256,
    force: Annotated[
        bool, typer.Option("--force", help="Decode what another model's weights encoded.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="Device; the run's own by default.")] = None,
) -> None:
    """Write the samples that indices stand for, under the names of what was encoded."""
    from rich.console import Console

    from vq.cli.progress import SampleProgress
    from vq.runs.trained_run import load_run
    from vq.tokens.decode import decode as write
    from vq.tokens.read import read_tokens

    console = Console()
    trained = load_run(run, device)
    found = read_tokens(trained, tokens, force=force)
    with SampleProgress(console, "decoding") as progress:
        count = write(
            trained,
            found,
            output,
            file_format=file_format,
            batch_size=batch_size,
            report=progress.report,
        )
    console.print(f"{count} samples: {output}", highlight=False, soft_wrap=True)
