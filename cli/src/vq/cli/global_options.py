"""Options before a command's name. They act before any plugin is loaded, so they are read twice.

``GlobalOptions.read`` picks them out of the command line by hand; Typer parses them again, refuses
wrong ones and describes them in help. What they choose is passed on in environment variables, which
every process that a command starts inherits.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from vq.cli import debug
from vq.cli.completion.install import install_completion, show_completion
from vq.cli.completion.names import plugin_switches
from vq.cli.version import show_version
from vqcore.errors import did_you_mean, shown
from vqcore.plugin.loader import DISABLE_VARIABLE, disabled_names
from vqcore.plugin.registry import Registry, default_registry

_PREFIX = "no:"
_log = logging.getLogger(__name__)


def _check(values: list[str]) -> list[str]:
    for value in values:
        if not value.startswith(_PREFIX) or value == _PREFIX:
            expected = f"expected {_PREFIX}NAME, which turns a plugin off"
            raise typer.BadParameter(f"{shown(value)}: {expected}")
    return values


def global_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show versions and exit.", callback=show_version, is_eager=True
        ),
    ] = False,
    plugins: Annotated[
        list[str],
        typer.Option(
            "-p",
            metavar="no:NAME",
            callback=_check,
            autocompletion=plugin_switches,
            help="Turn a plugin off, by its own name or its package's. Repeatable.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    debugging: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of every error.")
    ] = False,
    install: Annotated[
        bool,
        typer.Option(
            "--install-completion",
            help="Install completion for this shell, or for the one named: bash, zsh or fish.",
            callback=install_completion,
        ),
    ] = False,
    show: Annotated[
        bool,
        typer.Option(
            "--show-completion",
            help="Print the script that completes in this shell, or in the one named.",
            callback=show_completion,
        ),
    ] = False,
) -> None:
    """Options before the name of a command."""


@dataclass(frozen=True)
class GlobalOptions:
    """What stands before a command's name.

    Attributes:
        command: the name of the command; None if there is none.
        turned_off: names of plugins or packages.
        debug: whether tracebacks are shown.
    """

    command: str | None
    turned_off: tuple[str, ...] = ()
    debug: bool = False

    @classmethod
    def read(cls, words: Sequence[str]) -> GlobalOptions:
        """Those of a command line; what is wrong there is left for Typer to refuse."""
        turned_off: list[str] = []
        debugging = False
        rest = iter(words)
        for word in rest:
            if not word.startswith("-"):
                return cls(word, tuple(turned_off), debugging)
            if word.startswith("-p"):
                value = word.removeprefix("-p") or next(rest, "")
                turned_off += [value.removeprefix(_PREFIX)] if value.startswith(_PREFIX) else []
            debugging |= word == "--debug"
        return cls(None, tuple(turned_off), debugging)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the environment variables are set, and the default registry follows them."""
        given = {}
        if self.turned_off:
            given[DISABLE_VARIABLE] = ",".join([*disabled_names(), *self.turned_off])
        if self.debug:
            given[debug.VARIABLE] = "1"
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        if self.turned_off:
            default_registry.cache_clear()
        try:
            yield
        finally:  # a process may run several commands
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            if self.turned_off:
                default_registry.cache_clear()

    def warn(self, registry: Registry) -> None:
        """Warn of a name that no plugin has. As in pytest it is no error: what is not to act does
        not, and a script may run where the plugin is not installed.
        """
        plugins = registry.plugins
        for name in self.turned_off:
            if not any(plugin.is_called(name) for plugin in plugins):
                known = {each for plugin in plugins for each in (plugin.plugin, plugin.package)}
                hint = did_you_mean(name, sorted(known)) or "vq list-plugins lists them"
                _log.warning(f"-p no:{name}: no installed plugin has this name; {hint}")
