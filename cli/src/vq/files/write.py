"""Writes files whole or not at all, with errors that name them.

A folder may come from anyone. So nothing is written through a symbolic link: what is new has a name
that nobody can guess, and is renamed to its own.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vq.files.read import AT_ONCE
from vqcore.errors import RunError, SettingError

#: Flags to open what anyone may have put there: no pipe is waited for, and no link is followed.
NOT_LINKED = AT_ONCE | getattr(os, "O_NOFOLLOW", 0)
#: A name by ``_beside``, or one of version 0.1, which had no random part.
_TEMPORARY = re.compile(r"\.(.+?)\.([0-9a-f]{16}\.)?(tmp|old)", re.DOTALL)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk, a lost folder or missing permissions into an error that names the file.

    Raises:
        RunError: from any OSError inside.
    """
    try:
        yield
    except OSError as error:
        linked = error.errno == errno.ELOOP
        cause = "it is a symbolic link" if linked else error.strerror or error
        raise RunError(f"{path} cannot be written: {cause}") from error


def write_text(path: Path, text: str) -> None:
    """Write a small text file; see ``write_bytes``."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write a small JSON file; see ``write_bytes``. What JSON lacks is written as text."""
    write_text(path, json.dumps(value, indent=2, default=str) + "\n")


def write_yaml(path: Path, value: Any) -> None:
    """Write a small YAML file, keys in the given order; see ``write_bytes``."""
    import yaml

    write_text(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file through a temporary one that is flushed to disk, then renamed.

    A link of that name is replaced; what it points at stays.

    Raises:
        RunError: if it cannot be written.
    """
    with writing(path):
        temporary = _beside(path)
        try:
            write_flushed(temporary, content)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_flushed(path: Path, content: bytes) -> None:
    """Write a file that must not exist yet, and wait until it is on the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def append_text(path: Path, text: str) -> None:
    """Add text to the end of a file; see ``append_bytes``."""
    append_bytes(path, text.encode("utf-8", "backslashreplace"))


def append_bytes(path: Path, content: bytes) -> None:
    """Add to the end of a file, which is made if it is not there.

    Raises:
        RunError: if it cannot be written, or is a link or a pipe.
    """
    with writing(path), open(path, "ab", opener=_not_linked) as file:
        file.write(content)


def remove(path: Path) -> None:
    """Delete a file or folder if it is there; of a link the link, never what it points at."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a process of ours that was killed while writing left this."""
    return _TEMPORARY.fullmatch(path.name) is not None


def leftovers(folder: Path, of: Callable[[str], bool], ending: str = "tmp") -> list[Path]:
    """What killed processes left in a folder.

    Args:
        folder: where; it need not exist.
        of: whether it is asked for what was to have this name.
        ending: ``tmp`` of what was not complete, ``old`` of what was being replaced.
    """
    if not folder.is_dir():
        return []
    found = ((path, _TEMPORARY.fullmatch(path.name)) for path in folder.iterdir())
    return [path for path, parts in found if parts and parts[3] == ending and of(parts[1])]


def check_free(path: Path, option: str = "--output", fix: str = "") -> None:
    """Refuse a path that is taken; ``fix`` replaces the advice to choose another.

    Raises:
        SettingError: if the path is a file, or a folder with anything in it.
    """
    empty = path.is_dir() and not any(path.iterdir())
    if (path.is_symlink() or path.exists()) and not empty:
        found = "found files in it" if path.is_dir() else "found a file"
        expected = f"a path where nothing exists yet, {found}"
        raise SettingError(option, str(path), expected, fix or "choose another, or remove it")


def check_no_links(folder: Path, parts: Iterable[Path], option: str) -> None:
    """Refuse to write into a folder that leads elsewhere; it may be a link itself.

    Args:
        folder: given by the user, made by anyone.
        parts: files and folders in it that are written, or written into.
        option: that gave the folder.

    Raises:
        SettingError: naming the first part that is a link.
    """
    for path in parts:
        if os.path.islink(path):
            name = path.relative_to(folder)
            expected = f"a folder that leads nowhere else, found the link {name} in it"
            fix = "move what it points at into the folder; a link to the whole folder is fine"
            raise SettingError(option, str(folder), expected, fix)


@contextmanager
def new_folder(path: Path, option: str = "--output", *, replace: bool = False) -> Iterator[Path]:
    """A folder to write into, renamed to ``path`` when everything is in it.

    Args:
        path: of the folder.
        option: that gave the path.
        replace: replace a folder of that name.

    Raises:
        SettingError: see ``check_free``, or if the path ends in no name.
        RunError: if it cannot be written; nothing is left then.
    """
    if not replace:
        check_free(path, option)
    temporary = _beside(path, option)
    try:
        with writing(path):
            for left in leftovers(path.parent, _short(path).__eq__):
                remove(left)
            temporary.mkdir(parents=True)
            yield temporary
            # moved aside first: a kill in between loses neither
            if os.path.lexists(path):
                path.rename(temporary.with_suffix(".old"))
            temporary.rename(path)
            for left in leftovers(path.parent, _short(path).__eq__, "old"):
                remove(left)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file to write, renamed to ``path`` when it is complete.

    Raises:
        SettingError, RunError: as ``new_folder``.
    """
    check_free(path)
    temporary = _beside(path)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch(exist_ok=False)
            yield temporary
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _beside(path: Path, option: str = "--output") -> Path:
    """The path at which it is written until it is complete: new, and not to be guessed."""
    if path.name in ("", ".."):
        raise SettingError(option, str(path), "a path that ends in a name", "add one, as in ./NAME")
    return path.with_name(f".{_short(path)}.{secrets.token_hex(8)}.tmp")


def _short(path: Path) -> str:
    """Its name; of a long one a part and a digest, since a name has at most 255 bytes."""
    if len(os.fsencode(path.name)) <= 200:
        return path.name
    return f"{path.name[:30]}-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}"


def _not_linked(path: str, flags: int) -> int:
    """An opener that refuses a link, and a pipe that nobody reads."""
    return os.open(path, flags | NOT_LINKED, 0o666)
