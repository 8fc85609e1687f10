"""What this package declares; imports no torch, so that listing plugins is fast."""

from vqcore import hookimpl
from vqcore.plugin.protocols import CommandApp

VQ_API = 1


@hookimpl
def vq_commands(app: CommandApp) -> None:
    from my_plugin.command import best_step

    app.command("my-part")(best_step)
