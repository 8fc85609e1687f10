"""``--show-completion`` and ``--install-completion``, for the shell that asks."""

from __future__ import annotations

import typer

from vq.cli.completion.scripts import SHELLS, script
from vq.cli.console import say
from vqcore.errors import UsageError


def show_completion(context: typer.Context, wanted: bool) -> None:
    """Print the script of this shell, and stop, if it is wanted."""
    if wanted and not context.resilient_parsing:  # else a TAB is pressed
        print(script(_shell()), end="")
        raise typer.Exit


def install_completion(context: typer.Context, wanted: bool) -> None:
    """Write the script where this shell finds it, and stop, if that is wanted."""
    if wanted and not context.resilient_parsing:  # else a TAB is pressed
        from typer.completion import install  # knows the folders and startup files of shells

        shell = _shell()
        _, path = install(shell=shell, prog_name="vq", complete_var="_VQ_COMPLETE")
        path.write_text(script(shell), encoding="utf-8")
        say(f"{shell} completion: {path}\nIt acts in new shells.")
        raise typer.Exit


def _shell() -> str:
    """The shell that started this process.

    Raises:
        UsageError: if it is none that has completion.
    """
    import shellingham

    try:
        name = str(shellingham.detect_shell()[0])
    except shellingham.ShellDetectionFailure:
        name = "unknown"
    if name not in SHELLS:
        fix = "_VQ_COMPLETE=source_bash vq prints the script of bash, and so for the others"
        raise UsageError(f"the shell is {name}: expected {', '.join(SHELLS)}; {fix}")
    return name
