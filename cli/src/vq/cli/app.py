"""The command ``vq``: assembles its commands, and turns errors into a message and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from typing import Any

import typer

from vq.cli.completion.install import WORDS
from vq.cli.console import ConsoleHandler, former_names_told, shown_by
from vq.cli.debug import debugging, is_on, print_traceback, show_traceback
from vq.cli.global_options import GlobalOptions, global_options
from vq.cli.help import MOST_COLUMNS, CommandList, SectionedCommand
from vq.cli.plugin_commands import add_plugin_commands, missing_commands
from vq.cli.plugin_output import stdout_on_stderr
from vq.memory import memory_in_words
from vq.processes.launched import local_rank, rank
from vq.training.log_file import log_level
from vqcore.errors import (
    ComponentError,
    OtherProcessError,
    RunError,
    SettingError,
    UsageError,
    VQError,
    describe_error,
    printable,
    shown,
)
from vqcore.plugin.blame import place_in_plugin
from vqcore.plugin.registry import Registry, default_registry

#: In the order of help; each is the function of its name in a module of ``vq.cli.commands``.
COMMANDS = ("train", "evaluate", "encode", "decode", "export", "push", "sweep")
#: Commands that help lists after those of plugins.
ABOUT_PLUGINS = ("list-plugins", "show", "doctor", "new-plugin", "check-plugin")
#: Commands that take any setting as ``--a.b value`` besides their own options.
TAKES_SETTINGS = ("train", "sweep")
SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}
#: ``ClickException``, of Click or of the copy in Typer.
_CLICK_ERROR: Any = typer.BadParameter.mro()[2]
EXIT_CODES = {RunError: 1, SettingError: 2, UsageError: 2, ComponentError: 3}


def build_app(registry: Registry, command: str | None = None) -> typer.Typer:
    """The Typer app with our commands and those of plugins.

    Args:
        registry: the plugins.
        command: the name that the command line has. If it is one of ours, our others are left out:
            this keeps the start fast.
    """
    app = typer.Typer(
        name="vq",
        cls=_Commands,
        help="Train and use vector-quantized autoencoders: any manifold x quantizer x estimator "
        "x regularizers, from plugins.",
        no_args_is_help=True,
        add_completion=False,  # ours is in vq.cli.completion
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # rich help would double the time of the start
        context_settings={"max_content_width": MOST_COLUMNS},
    )
    app.callback()(global_options)  # without it, an app of one command takes no command's name
    if command == "sweep":
        _add(app, TAKES_SETTINGS)  # it parses its arguments as those of train
    elif command in (*COMMANDS, "show"):
        _add(app, (command,))
    else:
        _add(app, COMMANDS)
    # always: a plugin that fails here counts as broken
    add_plugin_commands(app, registry, (*COMMANDS, *ABOUT_PLUGINS))
    app.info.epilog = missing_commands(registry)
    if command not in (*COMMANDS, "show"):
        _add(app, ABOUT_PLUGINS)
    return app


class _Commands(CommandList):
    """All commands; what their messages of wrong usage quote is escaped."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the options before a command's name."""
        with _escaped_usage_errors():
            return super().make_context(*arguments, **options)

    def parse_args(self, context: Any, words: list[str]) -> list[str]:
        """Keep the words for options whose value may be left out, and parse those before a name."""
        context.meta[WORDS] = list(words)
        return super().parse_args(context, words)

    def invoke(self, *arguments: Any, **options: Any) -> Any:
        """Parse the rest and run the command."""
        with _escaped_usage_errors():
            return super().invoke(*arguments, **options)

    def resolve_command(self, *arguments: Any) -> Any:
        """Find the command; one that nobody has may be that of a broken plugin."""
        try:
            return super().resolve_command(*arguments)
        except _CLICK_ERROR as error:
            error.message = f"{error.message} {self.epilog or ''}".rstrip()
            raise


@contextmanager
def _escaped_usage_errors() -> Iterator[None]:
    try:
        yield
    except _CLICK_ERROR as error:
        error.message = printable(error.message, lines=True)
        raise


def _add(app: typer.Typer, names: Iterable[str]) -> None:
    for name in names:
        identifier = name.replace("-", "_")
        function = getattr(import_module(f"vq.cli.commands.{identifier}"), identifier)
        cls, settings = (SectionedCommand, SETTINGS) if name in TAKES_SETTINGS else (None, None)
        app.command(name, cls=cls, context_settings=settings)(function)


def main() -> None:
    """Run ``vq`` and exit: 0 done, 1 run failed, 2 wrong usage, 3 component missing or broken.

    A run that a signal ends exits with 128 plus its number.
    """
    # torch reads this at import; threads that spin slow down a machine that others use too
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # else pydantic searches every installed package for plugins of its own
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    options = GlobalOptions.read(sys.argv[1:])
    with options.applied():
        _run(options)


def _run(options: GlobalOptions) -> None:
    try:
        with (
            debugging(), memory_in_words(), shown_by(ConsoleHandler()), _quiet_elsewhere(),
            former_names_told(of_code=is_on()),
        ):  # fmt: skip
            with stdout_on_stderr():
                registry = default_registry()
                app = build_app(registry, options.command)
            options.warn(registry)
            app()  # Typer reports wrong usage itself and exits with 2, or with 130 on Ctrl-C
    except VQError as error:
        show_traceback(error)
        _report(error)
        sys.exit(exit_code(error))
    except OSError as error:  # a path too long, or one that may not be read
        if error.filename is None:
            raise
        show_traceback(error)
        _report(RunError(f"{shown(error.filename)}: {error.strerror}"))
        sys.exit(1)
    except Exception as error:
        place = place_in_plugin(error)
        if not place:
            raise
        print_traceback(error)  # whoever wrote the plugin needs it
        _report(RunError(f"{describe_error(error)} ({place}, the code of a plugin)"))
        sys.exit(1)


@contextmanager
def _quiet_elsewhere() -> Iterator[None]:
    """Of several processes the main one prints and warns; the others print errors alone."""
    if rank() == 0:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), log_level(logging.ERROR):
        yield


def exit_code(error: VQError) -> int:
    """The exit code for an error."""
    kind = error.kind if isinstance(error, OtherProcessError) else type(error)
    return next((code for each, code in EXIT_CODES.items() if issubclass(kind, each)), 1)


def _report(error: VQError) -> None:
    """Print an error, once if several processes raise the same one."""
    from rich.text import Text

    from vq.terminal import Terminal

    mistake = exit_code(error) != 1
    if isinstance(error, OtherProcessError):  # the main one tells of another's mistake
        shown = mistake and error.rank > 0 and rank() == 0
    else:  # all make the same one, but a machine may lack what the others have
        shown = not mistake or local_rank() == 0
    if not shown:
        return
    prefix = f"process {rank()}: " if rank() else ""
    text = Text.assemble(("error: ", "bold red"), f"{prefix}{error}")
    Terminal(stderr=True).print(text, soft_wrap=True)
