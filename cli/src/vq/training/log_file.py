"""log.txt: what the library logs while a run trains."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vq.files import append_text
from vqcore.errors import printable

#: The logger of the library: all others are its children.
LOG = logging.getLogger("vq")
#: The lines that stand in log.txt for the progress bar, which the console shows instead.
PROGRESS = logging.getLogger("vq.progress")


class LogFile(logging.Handler):
    """Appends each message to a file, with the time."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message; a ``RunError`` if that is impossible."""
        warning = "warning: " if record.levelno >= logging.WARNING else ""
        now = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        text = printable(f"{now}  {warning}{self.format(record)}\n", lines=True)
        append_text(self.path, text)


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Inside, what the library logs is appended to this file."""
    handler = LogFile(path)
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)


@contextmanager
def log_level(level: int) -> Iterator[None]:
    """Inside, the library logs messages of this level and above."""
    before = LOG.level
    LOG.setLevel(level)
    try:
        yield
    finally:
        LOG.setLevel(before)
