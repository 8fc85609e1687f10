"""Reading and downloading torchvision's data sets, with errors that say what to do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from vqcore.errors import RunError, SettingError, describe_error

T = TypeVar("T")

#: Seconds without a byte after which a download fails; torchvision itself waits forever.
_TIMEOUT = 30.0


def read_files(
    name: str, root: str, files: Sequence[str], download: bool, read: Callable[[], T]
) -> T:
    """The result of ``read``, which constructs a torchvision data set.

    Args:
        name: of the data set, for messages.
        root: folder that contains all data sets, as the user wrote it.
        files: required files below it.
        download: whether ``read`` downloads missing files.
        read: reads, and downloads if ``download`` is set.

    Raises:
        SettingError: if files are missing or damaged and ``download`` is not set.
        RunError: if the download fails.
    """
    if not download:
        _require(name, root, files)
    try:
        with _timeout(_TIMEOUT):
            return read()
    except Exception as error:  # URLError, OSError, RuntimeError, AssertionError and others
        cause = describe_error(error)
        if download:
            raise RunError(
                f"{name} could not be downloaded to dataset.root = {root!r}: {cause}; "
                f"check the network and the folder, or put {', '.join(files)} there yourself"
            ) from error
        expected = f"intact files of {name} ({cause})"
        fix = "remove its files and download them again with --set dataset.download=true"
        raise SettingError("dataset.root", root, expected, fix) from error


def _require(name: str, root: str, files: Sequence[str]) -> None:
    missing = [file for file in files if not (Path(root).expanduser() / file).exists()]
    if missing:
        expected = f"the folder that holds {name}, but {Path(root) / missing[0]} is missing"
        fix = f"download it with --set dataset.download=true, or put {', '.join(files)} there"
        raise SettingError("dataset.root", root, expected, fix)


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
