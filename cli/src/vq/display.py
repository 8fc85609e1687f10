"""Shows work under way: live lines on a terminal or in a notebook, lines of text elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from vq.progress import Task, in_words, watched_by
from vq.terminal import Terminal

#: Where lines stay: seconds that work may take without one, and between two of them.
PATIENCE, PAUSE = 2.0, 30.0
#: Width of a bar at least and at most, in columns.
_SHORTEST, _LONGEST = 6, 40


class Display:
    """Shows the tasks of this process while it is entered.

    Args:
        console: stderr by default, which leaves stdout to the results.
        at_once: where lines stay, print one as soon as a task begins, not only when it takes long.

    Attributes:
        panel: what stands above the tasks on a live console. While there is one, no task has a
            line at once.
        seconds: by the text of each task that ended, how long the last one took.
    """

    def __init__(self, console: Terminal | None = None, *, at_once: bool = False) -> None:
        self.console = console or Terminal(stderr=True)
        self.at_once = at_once
        self.panel: RenderableType | None = None
        self.seconds: dict[str, float] = {}
        self._due: dict[Task, float] = {}
        self._over = threading.Event()
        self._entered = ExitStack()

    def __enter__(self) -> Self:
        self._entered.enter_context(watched_by(self))
        if self.console.is_live:
            live = Live(
                console=self.console,
                get_renderable=lambda: Group(*self._lines()),
                transient=True,
                # a stream that goes elsewhere has no bar to be kept apart from
                redirect_stdout=sys.stdout.isatty(),
                redirect_stderr=sys.stderr.isatty(),
            )
            self._entered.enter_context(live)
        else:
            threading.Thread(target=self._tell, daemon=True).start()
            self._entered.callback(self._over.set)
        return self

    def __exit__(self, *error: object) -> None:
        self._entered.close()

    def began(self, task: Task) -> None:
        """Show a task."""
        if task.live and not self.console.is_live:
            return
        now = time.monotonic()
        self._due[task] = now + PATIENCE
        if self.at_once and self.panel is None and not self.console.is_live:
            self._due[task] = now + PAUSE
            self.console.print_line(_sentence(task))

    def ended(self, task: Task) -> None:
        """Show it no longer."""
        self.seconds[task.text] = task.seconds
        self._due.pop(task, None)

    def _lines(self) -> Iterator[RenderableType]:
        if self.panel is not None:
            yield self.panel
        for task in tuple(self._due):
            yield _line(task)

    def _tell(self) -> None:
        """Print a line about each task that takes long, and another one now and then."""
        while not self._over.wait(0.25):
            now = time.monotonic()
            for task, due in tuple(self._due.items()):
                if now >= due and task in self._due:
                    self._due[task] = now + PAUSE
                    self.console.print_line(_sentence(task))


@dataclass(frozen=True)
class Bar:
    """A bar in the middle of a line of any width.

    Attributes:
        left: before the bar.
        share: of the bar that is full.
        right: after it, the most important first; what does not fit is left out.
    """

    left: str
    share: float
    right: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width - len(self.left) - 4  # of which two spaces on each side
        right = _fitting(self.right, room - _SHORTEST)
        yield Text(self.left, end="  ", no_wrap=True, overflow="ellipsis")
        yield ProgressBar(1.0, self.share, width=max(1, min(_LONGEST, room - len(right))))
        yield Text(f"  {right}", no_wrap=True, overflow="crop")


@dataclass(frozen=True)
class Fields:
    """Texts on a line of any width, the most important first; what does not fit is left out."""

    texts: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(_fitting(self.texts, options.max_width), no_wrap=True, overflow="ellipsis")


def turning(text: str) -> str:
    """A text with a mark that moves before it, so that long work is seen to be alive."""
    return f"{'|/-'[int(time.monotonic() * 4) % 3]} {text}"


def _fitting(texts: Sequence[str], width: int) -> str:
    kept = [text for text in texts if text]
    while len(kept) > 1 and len("  ".join(kept)) > width:
        kept.pop()
    return "  ".join(kept)


def _line(task: Task) -> RenderableType:
    """A task on a live console: a bar, or how long it has taken."""
    if task.total is None:
        return Fields((turning(task.text), _time(task)))
    return Bar(
        turning(task.text), task.share, (f"{task.done}/{task.total} {task.unit}", _time(task))
    )


def _sentence(task: Task) -> str:
    """A task where lines stay."""
    if task.total is None:
        return ", ".join(filter(None, (task.text, _time(task))))
    count = f"{task.done} of {task.total}" if task.done else f"{task.total}"
    return ", ".join(filter(None, (f"{task.text}: {count} {task.unit}", _time(task))))


def _time(task: Task) -> str:
    """How long the rest takes, or how long it has taken; empty for what has just begun."""
    if task.seconds < PATIENCE:
        return ""
    left = task.seconds_left
    return f"{in_words(task.seconds)} so far" if left is None else f"{in_words(left)} left"
