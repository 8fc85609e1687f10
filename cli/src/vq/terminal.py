"""The console that everything styled is printed on."""

from __future__ import annotations

from collections.abc import Iterable
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

    def render_str(self, text: str, **options: Any) -> Text:
        """Escape before widths are measured, so that the columns of a table stay aligned."""
        return super().render_str(printable(text, lines=True), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Escape whatever is printed: every text passes here, rich's own controls excepted."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text, lines=True), style, control)

    def on_broken_pipe(self) -> None:
        """Show no more: whoever closed the pipe wants to read no more, not to end the work."""
        self.quiet = True
