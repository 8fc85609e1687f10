"""The console that everything styled is printed on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from vqcore.errors import printable


class Terminal(Console):
    """Prints text as it is: no markup, no highlighting, and active characters escaped.

    What is to have a style is a ``rich.text.Text``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)
        if self.width == 0:  # by COLUMNS, where nobody knows
            self.width = 80

    @property
    def is_endless(self) -> bool:
        """Whether lines go to a file or a pipe, for which nobody said how long they may be."""
        return not (self.is_terminal or self.is_jupyter or "COLUMNS" in os.environ)

    def render_str(self, text: str, **options: Any) -> Text:
        """Escape before widths are measured, so that the columns of a table stay aligned."""
        return super().render_str(printable(text, lines=True), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Escape whatever is printed: every text passes here, rich's own controls excepted."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text, lines=True), style, control)

    @property
    def is_live(self) -> bool:
        """Whether what it shows can change: on a terminal that moves its cursor, or a notebook."""
        if self.is_jupyter:
            return find_spec("ipywidgets") is not None
        return self.is_terminal and not self.is_dumb_terminal

    def print_line(self, text: str | Text) -> None:
        """Print one line, not wrapped; with the time where it stays, as in a file."""
        now = "" if self.is_live else time.strftime("%Y-%m-%d %H:%M:%S  ")
        self.print(Text.assemble(now, text), soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Show no more: whoever closed the pipe wants to read no more, not to end the work."""
        self.quiet = True
