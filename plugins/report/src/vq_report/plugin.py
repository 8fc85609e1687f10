"""Registers the commands ``report`` and ``compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqcore.plugin.hooks import hookimpl

if TYPE_CHECKING:
    from typer import Typer

VQ_API = 1


@hookimpl
def vq_commands(app: Typer) -> None:
    """Add ``vq report`` and ``vq compare``."""
    from vq_report.commands.compare import compare
    from vq_report.commands.report import report

    app.command("report")(report)
    app.command("compare")(compare)
