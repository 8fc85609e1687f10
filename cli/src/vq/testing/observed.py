"""What is observed of a run that a plugin follows: faults, waits, files that stay open."""

from __future__ import annotations

import functools
import gc
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vq.runs.trained_run import TrainedRun
from vqcore.testing.waits import waits


@dataclass
class Followed:
    """A run that a plugin followed.

    Attributes:
        path: the run folder.
        run: the run, None of one that failed.
        faults: what the library warned of about the plugin.
        left_open: files of the run folder that are open after it.
        waits: what would wait for a GPU in each step that is not logged.
    """

    path: Path
    run: TrainedRun | None = None
    faults: list[str] = field(default_factory=list)
    left_open: list[str] = field(default_factory=list)
    waits: dict[int, list[str]] = field(default_factory=dict)

    def files(self) -> dict[str, bytes]:
        """The content of every file by its path in the run folder."""
        found = (path for path in sorted(self.path.rglob("*")) if path.is_file())
        return {path.relative_to(self.path).as_posix(): path.read_bytes() for path in found}


class Clock:
    """Knows the step, whatever arguments a hook takes."""

    step = 0

    def vq_step_end(self, step: int) -> None:
        """Callbacks are called before plugins."""
        self.step = step


def noting_waits(
    hook: Callable[..., Any], clock: Clock, found: dict[int, list[str]]
) -> Callable[..., Any]:
    """A hook that notes what would wait for a GPU on steps that are not logged."""

    @functools.wraps(hook)  # pluggy reads the arguments of what is wrapped
    def call(*arguments: Any, **named: Any) -> Any:
        if clock.step % 2 == 0 or clock.step == 1:  # the first one may prepare something
            return hook(*arguments, **named)
        with waits() as noted:
            answer = hook(*arguments, **named)
        found[clock.step] = list(noted)
        return answer

    return call


@contextmanager
def observed(followed: Followed) -> Iterator[None]:
    """Inside, note what the library warns of; after, which files are open."""
    handler = _Faults(followed.faults)
    log = logging.getLogger("vqcore"), logging.getLogger("vq")
    for each in log:
        each.addHandler(handler)
    try:
        yield
    finally:
        for each in log:
            each.removeHandler(handler)
        gc.collect()
        followed.left_open.extend(_open_below(followed.path))


class _Faults(logging.Handler):
    """Keeps the warnings that name a plugin's hook."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.found = found

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message of ``HookCaller``."""
        text = record.getMessage()
        if text.startswith("plugin ") and " failed in vq_" in text:
            self.found.append(text)


def _open_below(folder: Path) -> list[str]:
    """The files in a folder that this process has open; none where the system does not tell."""
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return []
    names = []
    for number in numbers:
        with suppress(OSError):
            path = Path(os.readlink(f"/proc/self/fd/{number}"))
            if path.is_relative_to(folder.resolve()):
                names.append(path.relative_to(folder.resolve()).as_posix())
    return sorted(names)
