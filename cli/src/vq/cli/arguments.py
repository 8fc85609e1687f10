"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer


def option(
    help_text: str,
    *names: str,
    metavar: str | None = None,
    candidates: Callable[..., Any] | None = None,
) -> Any:
    """An option of a command; without ``names`` it is named like its parameter.

    ``candidates`` are its values for completion, see ``vq.cli.completion.names``.
    """
    return typer.Option(*names, help=help_text, metavar=metavar, autocompletion=candidates)


def argument(help_text: str, metavar: str, candidates: Callable[..., Any] | None = None) -> Any:
    """A positional argument of a command."""
    return typer.Argument(help=help_text, metavar=metavar, autocompletion=candidates)


_PLUGIN = "A plugin in a single file. Repeatable."
PluginFiles = Annotated[list[Path], option(_PLUGIN, "--plugin-file", metavar="FILE")]
AsJson = Annotated[bool, option("Print JSON instead of a table.", "--json")]
_TRUST = "Load the plugin files that a folder made elsewhere names, and let it download."
TrustPlugins = Annotated[bool, option(_TRUST, "--trust-plugins")]
Device = Annotated[str | None, option("Device; the run's own by default.")]


def _run_folder(path: Path) -> Path:
    """Refuse a path that is no run folder, before torch is imported."""
    from vq.runs.folder import RunFolder

    RunFolder.open(path)
    return path


def _run_folders(paths: list[Path]) -> list[Path]:
    return [_run_folder(path) for path in paths]


RunArgument = Annotated[
    Path, typer.Argument(help="The run folder.", metavar="RUN", callback=_run_folder)
]
RunArguments = Annotated[
    list[Path],
    typer.Argument(
        help="Run folders: one, or several side by side.", metavar="RUN...", callback=_run_folders
    ),
]
