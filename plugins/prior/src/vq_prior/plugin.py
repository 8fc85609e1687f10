"""Registers the commands ``prior``, ``sample`` and ``probe``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqcore.plugin.hooks import hookimpl

if TYPE_CHECKING:
    from typer import Typer

VQ_API = 1


@hookimpl
def vq_commands(app: Typer) -> None:
    """Add ``vq prior``, ``vq sample`` and ``vq probe``."""
    from vq_prior.commands.prior import prior
    from vq_prior.commands.probe import probe
    from vq_prior.commands.sample import sample

    app.command("prior")(prior)
    app.command("sample")(sample)
    app.command("probe")(probe)
