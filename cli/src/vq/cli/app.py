"""The command ``vq``: puts the commands together and turns errors into one message and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import typer

from vqcore.errors import VQError
from vqcore.plugin.loader import describe
from vqcore.plugin.registry import Registry, default_registry

#: In the order of help; each is the function of its name in the module of its name, in ``vq.cli.commands``.
COMMANDS = (
    "train", "evaluate", "encode", "decode", "export", "push", "sweep", "list-plugins", "show",
)  # fmt: skip
#: Those that take any setting as ``--a.b value`` besides their own options.
SETTING = {"allow_extra_args": True, "ignore_unknown_options": True}
TAKES_SETTINGS = ("train", "sweep")


def build_app(registry: Registry, arguments: Sequence[str] = ()) -> typer.Typer:
    """The Typer app with our commands and those that plugins add.

    Args:
        registry: the plugins.
        arguments: of the command line: where they begin with one of our commands, the others are left out, since
            building them costs a part of the start that can be felt.
    """
    app = typer.Typer(
        name="vq",
        help="Vector-quantized autoencoders from plugins: any manifold x quantizer x estimator x regularizers.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # rich help would cost as much as all the rest of the start,
    )
    app.callback()(lambda: None)  # or an app of one command would take no command's name
    for name in _wanted(arguments):
        identifier = name.replace("-", "_")
        function = getattr(import_module(f"vq.cli.commands.{identifier}"), identifier)
        app.command(name, context_settings=SETTING if name in TAKES_SETTINGS else None)(function)
    for implementation in registry.manager.hook.vq_commands.get_hookimpls():
        try:
            implementation.function(app)
        except (
            Exception,
            SystemExit,
        ) as error:  # a plugin's broken command must not take ours away
            owner = next(
                p
                for p in registry.plugins
                if f"{p.package}:{p.plugin}" == implementation.plugin_name
            )
            owner.fail("error", f"vq_commands: {describe(error)}")
    return app


def _wanted(arguments: Sequence[str]) -> Sequence[str]:
    """The commands that a command line needs; all of them where it begins with none."""
    first = arguments[0] if arguments else None
    if first == "sweep":
        return TAKES_SETTINGS  # it reads its words as train does
    return (first,) if first in COMMANDS else COMMANDS


def main() -> None:
    """Run ``vq`` and exit with its code: 0 done, 1 run failed, 2 usage or config, 3 component missing or broken."""
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # spinning threads starve a busy machine; read by torch once
    os.environ.setdefault(
        "PYDANTIC_DISABLE_PLUGINS", "__all__"
    )  # or it looks through every installed package too
    try:
        build_app(
            default_registry(), sys.argv[1:]
        )()  # Typer prints its own usage errors and exits with 2, or 130 on Ctrl-C
    except VQError as error:
        sys.exit(_fail(error))
    except BrokenPipeError:  # the reader went away, as in `vq list-plugins | head`
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or the interpreter complains at its end


def _fail(error: VQError) -> int:
    from rich.console import Console
    from rich.text import Text

    # Of several under a launcher: a mistake in the settings is everybody's, but one machine may lack what others have.
    process, first_here = int(os.environ.get("RANK", "0")), os.environ.get("LOCAL_RANK", "0") == "0"
    if first_here or error.exit_code == 1:
        who = f"process {process}: " if process else ""
        Console(stderr=True).print(
            Text.assemble(("error: ", "bold red"), f"{who}{error}"), soft_wrap=True
        )
    return error.exit_code
