"""``vq --version``: of our packages, torch and Python, read from what is installed."""

from __future__ import annotations

import platform
from importlib import metadata

import typer

from vq.cli.console import say


def show_version(context: typer.Context, wanted: bool) -> None:
    """Print a line with the versions, and stop, if they are wanted."""
    if wanted and not context.resilient_parsing:  # else a TAB is pressed
        packages = {"vq": "vq-cli", "vqcore": "vqcore", "torch": "torch"}
        found = [f"{name} {metadata.version(package)}" for name, package in packages.items()]
        say(", ".join([*found, f"Python {platform.python_version()}"]))
        raise typer.Exit
