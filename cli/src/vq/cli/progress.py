"""How far a command is that goes through samples: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: Seconds between two lines where there is no terminal.
PAUSE = 30.0


class SampleProgress:
    """Counts samples. Use as a context manager around the work.

    Args:
        console: where to write.
        verb: what is being done to the samples, as in ``encoding``.
    """

    def __init__(self, console: Console, verb: str) -> None:
        self.console, self.verb = console, verb
        columns = (
            TextColumn(verb),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self.bar = Progress(
            *columns, console=console, disable=not console.is_terminal, transient=True
        )
        self.task = self.bar.add_task(verb, total=None)
        self.said = time.monotonic()

    def __enter__(self) -> SampleProgress:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def report(self, done: int, total: int | None = None) -> None:
        """So many samples of so many (where that is known) are done."""
        self.bar.update(self.task, completed=done, total=total)
        now = time.monotonic()
        if not self.console.is_terminal and now - self.said > PAUSE:
            self.said = now
            self.console.print(
                f"{self.verb}: {done}{f' of {total}' if total else ''} samples", highlight=False
            )
