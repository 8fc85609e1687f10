"""The signals that ask a process to stop: noted for a loop to read between steps, or raised."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

#: A terminal that was closed; not on every system.
_HANGUP = getattr(signal, "SIGHUP", None)
SIGNALS = (signal.SIGINT, signal.SIGTERM, *([_HANGUP] if _HANGUP else []))


class Interrupt:
    """While entered, the first of ``SIGNALS`` only sets ``number``.

    A second one raises KeyboardInterrupt. Outside the main thread nothing changes. A SIGHUP that
    is ignored, as under ``nohup``, stays so.

    Args:
        first: called at the first one, in a thread of its own: what the signal interrupted may
            hold any lock.
    """

    def __init__(self, first: Callable[[], object] = lambda: None) -> None:
        self.number: int | None = None
        self._first = first
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if number != _HANGUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number
        _thread.start_new_thread(self._first, ())


class Stop(Interrupt):
    """While entered, each of ``SIGNALS`` raises KeyboardInterrupt; ``number`` says which it was."""

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        raise KeyboardInterrupt
