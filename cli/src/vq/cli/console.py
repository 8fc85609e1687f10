"""What the command prints, and where it shows what the library logs."""

from __future__ import annotations

import json
import logging
import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TextIO

from vq.processes.launched import rank
from vq.training.log_file import PROGRESS
from vqcore.errors import printable
from vqcore.plugin.deprecation import VQDeprecationWarning, VQFutureWarning

if TYPE_CHECKING:
    from vq.display import Display
    from vq.terminal import Terminal


class ConsoleHandler(logging.Handler):
    """Prints what the library logs above what a display shows on this console; warnings alone, to
    stderr, where no console is given.
    """

    def __init__(self, console: Terminal | None = None) -> None:
        super().__init__(logging.INFO if console else logging.WARNING)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        from rich.text import Text

        from vq.terminal import Terminal

        if record.name == PROGRESS.name:
            return
        prefix = ("warning: " if record.levelno >= logging.WARNING else "", "yellow")
        text = Text.assemble(prefix, self.format(record))
        if self.console:
            self.console.print_line(text)
        else:
            Terminal(stderr=True).print(text, soft_wrap=True)


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


@contextmanager
def former_names_told(*, of_code: bool = False) -> Iterator[None]:
    """Inside, a former name that somebody wrote is a warning like any other, told once.

    With ``of_code``, so is one that the code of a plugin uses.
    """
    told = (VQFutureWarning, VQDeprecationWarning) if of_code else (VQFutureWarning,)

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int,
        file: TextIO | None = None, line: str | None = None,
    ) -> None:  # fmt: skip
        if issubclass(category, told):
            in_code = issubclass(category, VQDeprecationWarning)
            place = f" ({filename}:{lineno})" if in_code else ""
            logging.getLogger("vq").warning("%s%s", message, place)
        else:
            otherwise(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        for category in told:
            warnings.simplefilter("once", category)
        otherwise, warnings.showwarning = warnings.showwarning, show
        yield


@contextmanager
def talking(console: Terminal | None = None, *, at_once: bool = False) -> Iterator[Display]:
    """Inside, work under way is shown, and what the library logs, on stderr by default.

    Of the processes of a launcher, the first one alone shows anything.
    """
    from vq.display import Display
    from vq.terminal import Terminal

    first = rank() == 0
    console = console or Terminal(stderr=True, quiet=not first)
    display = Display(console, at_once=at_once)
    with shown_by(ConsoleHandler(console)), display if first else nullcontext():
        yield display


def loaded(name: str) -> Any:
    """A function of ``vq``, with what it needs: loading PyTorch takes seconds."""
    import vq
    from vq.progress import working

    with working("loading PyTorch"):
        return getattr(vq, name)


def say(text: str, *, error: bool = False) -> None:
    """Print text as it is, to stdout or stderr: no markup, not wrapped, what is active escaped."""
    print(printable(text, lines=True), file=sys.stderr if error else sys.stdout, flush=True)


def print_json(values: Any) -> None:
    """Print plain values as JSON: NaN and infinity, which it lacks, are null."""
    sys.stdout.write(json.dumps(_finite(values), indent=2, default=str, allow_nan=False) + "\n")


def print_yaml(values: Mapping[str, Any]) -> None:
    """Print plain values as YAML, keys in the given order."""
    import yaml

    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    if printable(text, lines=True) != text:  # YAML has escapes of its own
        text = yaml.safe_dump(values, sort_keys=False)
    sys.stdout.write(text)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
