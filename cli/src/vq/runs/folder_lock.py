"""The lock of a folder: one process at a time trains in it. Torch-free.

The kernel keeps it, on the file ``.lock`` in the folder, and releases it when the process ends,
however it ends. The file stays, and holds the number and host of the last process.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vq.files import NOT_LINKED, read_json, writing
from vqcore.errors import SettingError, shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
_log = logging.getLogger(__name__)
#: The locks of this process, as file descriptors.
_held: set[int] = set()


@contextmanager
def locked(folder: Path, option: str) -> Iterator[None]:
    """Hold the lock of a folder inside.

    Raises:
        SettingError: of the option that gave the folder, if a process holds it.
        RunError: if the file cannot be written.
    """
    with writing(folder / NAME):
        file = os.open(folder / NAME, NOT_LINKED | os.O_RDWR | os.O_CREAT, 0o666)
    _held.add(file)
    try:
        if not _lock(file, folder, exclusive=True):
            raise _taken(folder, option)
        with writing(folder / NAME):
            holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
            os.truncate(file, 0)
            os.write(file, holder.encode())
        yield
    finally:
        if file in _held:  # else this is a child
            _held.discard(file)
            os.close(file)


def check_unlocked(folder: Path, option: str) -> None:
    """Refuse a folder whose lock a process holds.

    Raises:
        SettingError: naming that process.
    """
    try:
        file = os.open(folder / NAME, NOT_LINKED | os.O_RDONLY)
    except OSError:  # never locked, or not readable: locking it will say so
        return
    try:
        if not _lock(file, folder, exclusive=False):
            raise _taken(folder, option)
    finally:
        os.close(file)


def _lock(file: int, folder: Path, *, exclusive: bool) -> bool:
    """Whether the lock was free. Where there are no locks, a warning says so."""
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:  # of a file system without locks
        if exclusive:
            reason = f"files cannot be locked here ({error.strerror})"
            _log.warning(f"{folder}: {reason}: make sure that no other process trains in it")
    return True


def _taken(folder: Path, option: str) -> SettingError:
    holder: Any = read_json(folder / NAME) or {}
    process, host = holder.get("pid"), holder.get("host")
    found = f"process {shown(process, 20)} on {shown(host, 80)}" if holder else "one"
    expected = f"a folder that no process is training in, found {found}"
    return SettingError(option, str(folder), expected, "wait for it, or stop it")


def _drop_in_child() -> None:
    """A worker that outlives the process must not keep its locks."""
    for file in _held:
        os.close(file)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_in_child)
