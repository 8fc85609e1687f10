"""``vq new-plugin``: write the package of a new plugin, to be changed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from vq.cli.arguments import argument, option
from vq.cli.console import say
from vq.new_plugin import write
from vq.requirements import installed
from vqcore.errors import UsageError, did_you_mean, shown
from vqcore.plugin.registry import default_registry

#: Named explicitly: from a metavar KIND, Typer would derive an option --KIND.
_Kinds = Annotated[
    list[str],
    option(
        f"What it provides: {', '.join(write.TEMPLATES)}. Repeatable.",
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
    kinds: _Kinds = [],  # noqa: B006 - typer copies it
) -> None:
    """Write the package of a new plugin.

    It can be installed, tested and used as it is: an example of the kind, with a name of yours.
    """
    for kind in kinds or [""]:
        if kind not in write.TEMPLATES:
            given = f"--kind = {shown(kind)}" if kinds else "--kind is missing"
            expected = f"expected one of {', '.join(write.TEMPLATES)}"
            raise UsageError(f"{given}: {did_you_mean(kind, write.TEMPLATES) or expected}")
    kinds = list(dict.fromkeys(kinds))
    group: Any = context.find_root().command
    path, commands = write.new_plugin(name, kinds, folder, default_registry(), group.commands)
    what = "the kind" if len(kinds) == 1 else "the kinds"
    say(f"{path}: a plugin of {what} {write.listed(kinds)}, to be changed. Next:\n")
    # by its metadata: on Python 3.11 find_spec("pip") turns off setuptools' distutils, and torch
    # cannot compile any more; environments of uv have no pip
    install = "pip install" if installed("pip") else "uv pip install"
    for line in (f"cd {shlex.quote(str(path))}", f'{install} -e ".[test]"', "pytest", *commands):
        say(f"  {line}")
