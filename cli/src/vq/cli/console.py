"""Where the command shows what the library logs."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vq.training.log_file import PROGRESS

if TYPE_CHECKING:
    from rich.console import Console


class ConsoleHandler(logging.Handler):
    """Prints what the library logs above the console's progress bar; warnings alone, to stderr,
    where no console is given.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(logging.NOTSET if console else logging.WARNING)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        from rich.console import Console
        from rich.text import Text

        if record.name == PROGRESS.name:
            return
        console = self.console or Console(stderr=True)
        prefix = ("warning: " if record.levelno >= logging.WARNING else "", "yellow")
        console.print(Text.assemble(prefix, self.format(record)), highlight=False, soft_wrap=True)


@contextmanager
def shown_by(handler: logging.Handler) -> Iterator[None]:
    """Inside, this handler alone shows what the library logs."""
    logger = logging.getLogger("vq")
    before = logger.handlers
    logger.handlers = [handler]
    try:
        yield
    finally:
        logger.handlers = before


def say(text: str, console: Console | None = None, style: str | None = None) -> None:
    """Print text as it is: not highlighted, no markup, not wrapped."""
    from rich.console import Console

    console = console or Console()
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def print_json(values: Any) -> None:
    """Print plain values as JSON."""
    sys.stdout.write(json.dumps(values, indent=2) + "\n")
