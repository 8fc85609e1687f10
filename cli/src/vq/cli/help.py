"""How help looks: options in sections, and the whole first sentence about each command."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import typer.core

#: Widest lines of help, in a terminal that has the room.
MOST_COLUMNS = 100


class SectionedCommand(typer.core.TyperCommand):
    """A command whose help lists its options by their panels."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each panel, in the order of the options."""
        records = [
            (getattr(param, "rich_help_panel", None) or "Options", param.get_help_record(ctx))
            for param in self.get_params(ctx)
        ]
        for title, options in groupby(records, lambda record: record[0]):
            with formatter.section(title):
                formatter.write_dl([record for _, record in options if record])


class CommandList(typer.core.TyperGroup):
    """Commands whose help wraps what each one does; stock help cuts it where a line ends."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the section of commands."""
        commands = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (command.name or "", command.get_short_help_str(1000))
                    for command in commands
                    if command is not None and not command.hidden
                ]
            )
