"""Reads regular files alone: a folder may come from anyone, and a pipe would never end."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

#: Pixels of an image that is decoded, at most: a small file may hold any number.
MAX_PIXELS = 2**25
#: Flag to open what anyone may have put there: no pipe is waited for.
AT_ONCE = getattr(os, "O_NONBLOCK", 0)


def at_once(path: str, flags: int) -> int:
    """An opener that does not wait for the other end of a pipe."""
    return os.open(path, flags | AT_ONCE)


def check_regular(path: Path) -> None:
    """Refuse what is no regular file: a FIFO would be waited for, a device is endless.

    Raises:
        OSError: if it is something else, or nothing.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_bytes(path: Path) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: if it cannot be read, or is a pipe, a device or a folder.
    """
    with open(path, "rb", opener=at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read()


def read_text(path: Path) -> str:
    """The text of a regular file in UTF-8; see ``read_bytes``.

    Raises:
        OSError, UnicodeDecodeError: if it cannot be read, or is no text.
    """
    return read_bytes(path).decode("utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping that a JSON file holds; None where the file is missing or damaged."""
    values = read_any_json(path)
    return values if isinstance(values, dict) else None


def read_any_json(path: Path) -> Any:
    """What a JSON file holds; None where the file is missing or damaged."""
    try:
        return json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return None


@contextmanager
def opened_image(content: bytes, formats: tuple[str, ...]) -> Iterator[Image]:
    """An image of one of Pillow's ``formats`` that is small enough to be decoded.

    Raises:
        Exception: anything, for anything else: Pillow's decoders do.
    """
    import PIL.Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # refused below
        opened = PIL.Image.open(io.BytesIO(content), formats=formats)
    with opened:
        if opened.width * opened.height > MAX_PIXELS:
            raise ValueError(f"{opened.width} x {opened.height} pixels")
        yield opened


def read_image(path: Path) -> bytes | None:
    """The content of a PNG file; None where it is missing, damaged, no PNG or too large."""
    try:
        content = read_bytes(path)
        with opened_image(content, ("PNG",)) as image:
            image.load()
    except Exception:
        return None
    return content
