"""Work that takes a while: whoever does it says what it is and how far, and a display may show it.

Nothing is shown without one: the library itself prints nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

Batch = TypeVar("Batch", bound=Sized)


@dataclass(eq=False)
class Task:
    """A piece of work under way.

    Attributes:
        text: what is done, as in ``encoding``.
        total: how much there is of it, in ``unit``; None where nobody knows.
        done: how much of that is done.
        parts: how much more, of units that are not whole yet.
        live: whether it is of interest on a live console alone, as one of many at a time.
        began: when, on the monotonic clock.
    """

    text: str
    total: int | None = None
    unit: str = ""
    done: int = 0
    parts: float = 0.0
    live: bool = False
    began: float = field(default_factory=time.monotonic)

    def advance(self, count: int = 1) -> None:
        """So much more is done."""
        self.done += count

    def through(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches; what was taken counts as done once the next one is asked for."""
        for batch in batches:
            yield batch
            self.done += len(batch)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.began

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this speed; None where nobody knows."""
        return self.seconds * (1 / self.share - 1) if self.share else None

    @property
    def share(self) -> float:
        """How much of it is done, from 0 to 1; 0 where nobody knows."""
        return min(1.0, (self.done + self.parts) / self.total) if self.total else 0.0


class Watcher(Protocol):
    """What hears of work when it begins and when it is over."""

    def began(self, task: Task) -> None:
        """A task begins."""

    def ended(self, task: Task) -> None:
        """It is over, or was given up."""


_watchers: list[Watcher] = []


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Inside, the watcher is told of all work of this process."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


@contextmanager
def working(
    text: str, total: int | None = None, unit: str = "", *, live: bool = False
) -> Iterator[Task]:
    """Inside, this work is under way: ``with working("encoding", 512, "samples") as task``."""
    task = Task(text, total, unit, live=live)
    watchers = tuple(_watchers)
    for each in watchers:
        each.began(task)
    try:
        yield task
    finally:
        for each in watchers:
            each.ended(task)


def in_words(seconds: float) -> str:
    """A duration in its two largest units: ``12 s``, ``3 min``, ``2 h 5 min``, ``1 d 4 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h"
