"""``vq new-plugin``: write the package of a new plugin, to be changed."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from vq.cli.arguments import argument, option
from vq.cli.console import say
from vq.new_plugin import write
from vqcore.errors import UsageError, did_you_mean, shown
from vqcore.plugin.registry import default_registry

#: Named explicitly: from a metavar KIND, Typer would derive an option --KIND.
_Kind = Annotated[
    str | None,
    option(
        f"What it provides: {', '.join(write.TEMPLATES)}.",
        "--kind",
        metavar="KIND",
        candidates=lambda: list(write.TEMPLATES),
    ),
]


def new_plugin(
    context: typer.Context,
    name: Annotated[str, argument("What the plugin is called, as in my-plugin.", "NAME")],
    folder: Annotated[
        Path | None, argument("Where to write it; by default the folder NAME.", "[FOLDER]")
    ] = None,
    kind: _Kind = None,
) -> None:
    """Write the package of a new plugin.

    It can be installed, tested and used as it is: an example of the kind, with a name of yours.
    """
    if kind not in write.TEMPLATES:
        given = "--kind is missing" if kind is None else f"--kind = {shown(kind)}"
        expected = f"expected one of {', '.join(write.TEMPLATES)}"
        raise UsageError(f"{given}: {did_you_mean(kind or '', write.TEMPLATES) or expected}")
    group: Any = context.find_root().command
    path, command = write.new_plugin(name, kind, folder, default_registry(), group.commands)
    say(f"{path}: a plugin of the kind {kind}, to be changed. Next:\n")
    install = "pip install" if find_spec("pip") else "uv pip install"  # uv makes no pip
    for line in (f"cd {shlex.quote(str(path))}", f'{install} -e ".[test]"', "pytest", command):
        say(f"  {line}")
