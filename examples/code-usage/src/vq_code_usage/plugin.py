"""Registers the command ``vq code-usage``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqcore import hookimpl

if TYPE_CHECKING:
    from vqcore.plugin.protocols import CommandApp

VQ_API = 1


@hookimpl
def vq_commands(app: CommandApp) -> None:
    """Add ``vq code-usage``."""
    from vq_code_usage.command import code_usage

    app.command("code-usage")(code_usage)
