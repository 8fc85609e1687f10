"""``--show-completion`` and ``--install-completion``, each with the name of a shell or without."""

from __future__ import annotations

from pathlib import Path

import typer

from vq.cli.completion.scripts import SHELLS, script
from vq.cli.console import say
from vqcore.errors import UsageError

#: The options of this file.
FOR_A_SHELL = ("--install-completion", "--show-completion")
#: Where ``vq`` keeps its command line: in the ``meta`` of its context.
WORDS = f"{__name__}.words"


def show_completion(context: typer.Context, option: typer.CallbackParam, wanted: bool) -> None:
    """Print the script of the shell, and stop, if it is wanted."""
    if wanted and not context.resilient_parsing:  # else a TAB is pressed
        print(script(_shell(context, option.opts[0])), end="")
        raise typer.Exit


def install_completion(context: typer.Context, option: typer.CallbackParam, wanted: bool) -> None:
    """Write the script where the shell finds it, and stop, if that is wanted."""
    if wanted and not context.resilient_parsing:  # else a TAB is pressed
        from typer.completion import install  # knows the folders and startup files of shells

        shell = _shell(context, option.opts[0])
        _, path = install(shell=shell, prog_name="vq", complete_var="_VQ_COMPLETE")
        path.write_text(script(shell), encoding="utf-8")
        say(f"{shell} completion: {path}\nIt acts in new shells.")
        raise typer.Exit


def _shell(context: typer.Context, option: str) -> str:
    """The shell that is named after an option, else the one that started this process.

    The name is read from the command line: Typer has no options whose value may be left out.

    Raises:
        UsageError: if it is none that has completion.
    """
    words = context.meta[WORDS]
    following = words[words.index(option) + 1 :]
    if following and not following[0].startswith("-"):
        name = Path(following[0]).name  # of a path, as in $SHELL
    else:
        name = _detected()
    if name not in SHELLS:
        fix = f"name one, as in vq {option} bash"
        raise UsageError(f"the shell is {name or 'unknown'}: expected {', '.join(SHELLS)}; {fix}")
    return name


def _detected() -> str:
    import shellingham

    try:
        return str(shellingham.detect_shell()[0])
    except shellingham.ShellDetectionFailure:
        return ""
