"""``vq report``: one HTML file that shows what runs did."""

from pathlib import Path
from typing import Annotated

import typer

from vq.cli.arguments import RunArguments, TrustPlugins
from vq.cli.console import loaded, say, talking


def report(
    runs: RunArguments,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The file; default RUN/report.html, or ./report.html for several runs.",
            metavar="FILE",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where models are evaluated: auto, cpu, cuda, cuda:1.")
    ] = "auto",
    trust_plugins: TrustPlugins = False,
) -> None:
    """Write one HTML file about a run, or several side by side.

    The file loads nothing and runs no script.
    """

    def warn(text: str) -> None:
        say(f"warning: {text}", error=True)

    with talking():
        path = loaded("report")(runs, output, device, warn, trust_plugins=trust_plugins)
    say(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
