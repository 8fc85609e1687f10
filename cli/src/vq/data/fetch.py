"""Data sets that torchvision reads and downloads: what goes wrong with them, said so that a user can act."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from vqcore.errors import RunError, SettingError
from vqcore.plugin.loader import describe

T = TypeVar("T")

#: Seconds without a byte after which a download is given up; torchvision itself would wait for ever.
_TIMEOUT = 30.0


def require(name: str, root: str, files: Sequence[str]) -> None:
    """Check that a data set's files lie under ``root``.

    Raises:
        SettingError: naming the first that is missing, and how to get them all.
    """
    missing = [file for file in files if not (Path(root).expanduser() / file).exists()]
    if missing:
        raise SettingError(
            "dataset.root",
            root,
            f"the folder that holds {name}, but {Path(root) / missing[0]} is missing",
            f"download it with --set dataset.download=true, or put {', '.join(files)} there",
        )


def load(name: str, root: str, files: Sequence[str], download: bool, read: Callable[[], T]) -> T:
    """The answer of ``read``, which constructs a torchvision data set and so downloads it where it was told to.

    Args:
        name: of the data set, for messages.
        root: folder of all data sets, as the user wrote it.
        files: what must lie under it.
        download: whether ``read`` downloads what is missing.
        read: the work.

    Raises:
        SettingError: if files are missing or damaged and nothing is downloaded.
        RunError: if the download fails.
    """
    if not download:
        require(name, root, files)
    try:
        with _timeout(_TIMEOUT):
            return read()
    except (
        Exception
    ) as error:  # torchvision raises what it meets: URLError, OSError, RuntimeError, AssertionError
        if download:
            raise RunError(
                f"{name} could not be downloaded to dataset.root = {root!r}: {describe(error)}; check the network and "
                f"the folder, or put {', '.join(files)} there yourself"
            ) from error
        fix = "remove its files and download it anew with --set dataset.download=true"
        raise SettingError(
            "dataset.root", root, f"intact files of {name} ({describe(error)})", fix
        ) from error


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
