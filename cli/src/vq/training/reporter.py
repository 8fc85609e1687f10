"""Words for people: to the console, and from the moment there is a run folder also to its log.txt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from vq.runs.files import writing

LOG_WIDTH = 140


class Reporter:
    """Prints to a console and keeps what was printed in a log file.

    Args:
        console: where people read; a quiet one on ranks other than 0.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._log: Path | None = None

    def keep(self, log: Path) -> None:
        """From now on also append to this file."""
        self._log = log

    def say(self, *objects: Any) -> None:
        """Print text or any rich renderable."""
        self.console.print(
            *objects, highlight=False, soft_wrap=all(isinstance(o, str | Text) for o in objects)
        )
        self.note(*objects)

    def note(self, *objects: Any) -> None:
        """Write to the log only."""
        if self._log is not None:
            with writing(self._log), self._log.open("a", encoding="utf-8") as file:
                Console(file=file, width=LOG_WIDTH, color_system=None).print(
                    *objects, highlight=False
                )

    def warn(self, text: str) -> None:
        """Print a warning."""
        self.say(Text.assemble(("warning: ", "yellow"), text))
