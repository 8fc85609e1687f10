"""Commands of plugins, run in this process."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from vq.cli.app import build_app, exit_code
from vqcore.errors import VQError
from vqcore.testing.loaded import registry_with


def run_command(*arguments: object, plugins: Iterable[ModuleType | str] = ()) -> Any:
    """What ``vq ARGUMENTS`` does with the installed plugins and others.

    Args:
        arguments: the command and its arguments, as texts or paths.
        plugins: modules of plugins, or their names.

    Returns:
        Typer's ``Result``, with the ``exit_code`` of the command, ``stdout``, ``stderr``, and
        ``exception``, the error behind it or None.

    Raises:
        Exception: of the command, if it is none that ``vq`` turns into a message.
    """
    from typer.testing import CliRunner

    registry, _ = registry_with(plugins)
    result = CliRunner().invoke(build_app(registry), [str(each) for each in arguments])
    if isinstance(result.exception, VQError):
        result.exit_code = exit_code(result.exception)
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
