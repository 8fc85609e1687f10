"""``vq export``: a run's encoder and decoder as programs that need none of this code."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vq.cli.arguments import RunArgument


def export(
    run: RunArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.", metavar="OUT")],
    file_format: Annotated[
        Literal["pt2", "onnx"], typer.Option("--format", help="torch.export or ONNX.")
    ] = "pt2",
) -> None:
    """Write encoder (samples to indices) and decoder (indices to samples) as two graphs for any number of samples.

    Both are run and compared with the model before the folder appears.
    """
    from rich.console import Console

    from vq.exports.write import export_run
    from vq.runs.trained_run import load_run

    about = export_run(load_run(run, "cpu"), output, file_format)
    checked = about["checked"]
    text = f"{checked['indices']} indices compared with the model's, {checked['differing_indices']} differ"
    text += f"; values within {checked['largest_difference']:.1g}"
    Console().print(
        f"{text}\n{about['encoder']} and {about['decoder']} in {output}",
        highlight=False,
        soft_wrap=True,
    )
