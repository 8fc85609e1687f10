"""``vq --debug``: tracebacks of errors, and what the libraries log for debugging."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from vq.cli.console import say

#: Set to anything but 0, it acts as ``--debug``, in every process that a command starts.
VARIABLE = "VQ_DEBUG"
_LIBRARIES = ("vq", "vqcore")


def is_on() -> bool:
    """Whether this process shows tracebacks."""
    return os.environ.get(VARIABLE, "") not in ("", "0")


def show_traceback(error: BaseException) -> None:
    """Print a traceback with those of its causes to stderr, if debugging is on."""
    if is_on():
        print_traceback(error)


def print_traceback(error: BaseException) -> None:
    """Print a traceback with those of its causes to stderr."""
    say("".join(traceback.format_exception(error)).rstrip(), error=True)


@contextmanager
def debugging() -> Iterator[None]:
    """Inside, if debugging is on, stderr shows what the libraries log for debugging."""
    if not is_on():
        yield
        return
    root, handler = logging.getLogger(), _DebugHandler()
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    levels = [logger.level for logger in loggers]
    root.addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _DebugHandler(logging.Handler):
    """Prints what no ``ConsoleHandler`` shows."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out what ``vq`` logs for everybody."""
        ours = record.name.partition(".")[0] == "vq"
        return not ours or record.levelno <= logging.DEBUG

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message, with the traceback that it has."""
        say(self.format(record), error=True)
