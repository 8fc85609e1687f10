"""``vq`` as a process: its signals and its standard streams, around the command itself."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from functools import partial
from typing import Any

from vq.interrupt import Stop
from vq.processes.launched import rank


def main() -> None:
    """The entry point: run the command, or answer a shell, and exit as docs/cli.md says."""
    output = _keep_streams()
    code: Any = 0
    with Stop() as stop:
        sys.unraisablehook = partial(_exit_where_nothing_can_be_raised, stop)
        try:
            if "_VQ_COMPLETE" in os.environ:
                from vq.cli.completion.shells import answer as command
            else:
                from vq.cli.app import main as command
            command()
        except BaseException as error:
            # an import that Ctrl-C ends may raise anything
            if stop.number is None and not isinstance(error, SystemExit):
                raise
            code = error.code if isinstance(error, SystemExit) else 0
        if stop.number is not None:
            code = 128 + stop.number
            if "_VQ_COMPLETE" not in os.environ and rank() == 0:
                print(f"stopped by {signal.Signals(stop.number).name}", file=sys.stderr)
    sys.stdout.flush()
    sys.exit(code or output.is_incomplete)


class _Kept(io.FileIO):
    """The file below a standard stream. What it cannot write is dropped: a reader that went away
    and a full disk end no run.
    """

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, or from the first failure on drop, all of it."""
        try:
            return super().write(data) or 0
        except OSError as error:
            self._drop(error)
            return len(memoryview(data).cast("B"))

    @property
    def is_incomplete(self) -> bool:
        """Whether something is missing that a reader waits for."""
        return self.lost is not None and self.lost.errno != errno.EPIPE

    def _drop(self, error: OSError) -> None:
        self.lost = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if self.is_incomplete and self.fileno() == 1:
            print(f"error: stdout cannot be written: {error.strerror}", file=sys.stderr)


def _keep_streams() -> _Kept:
    """Replace stdout and stderr by streams that never fail, not even at a character that their
    encoding lacks; returns the file below stdout.
    """
    _fill_closed()
    output = _Kept(1, "wb", closefd=False)
    sys.stdout = _text(output, sys.stdout, line_buffering=output.isatty())
    sys.stderr = _text(_Kept(2, "wb", closefd=False), sys.stderr, line_buffering=True)
    return output


def _text(raw: _Kept, before: Any, *, line_buffering: bool) -> io.TextIOWrapper:
    """A stream of text on a file, in the encoding of the one ``before``, if there was one."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        before.encoding if before else "utf-8",
        "backslashreplace",
        line_buffering=line_buffering,
        write_through=getattr(before, "write_through", False),
    )


def _fill_closed() -> None:
    """Open what was closed of descriptors 0 to 2: the next file would take its number, and then
    get what is printed.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


def _exit_where_nothing_can_be_raised(stop: Stop, unraisable: Any) -> None:
    """End at a signal in a destructor or a callback of an import, which would only print it."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        os._exit(128 + (stop.number or signal.SIGINT))
    sys.__unraisablehook__(unraisable)
