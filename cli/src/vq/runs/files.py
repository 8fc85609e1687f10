"""Reading and writing files: what is written is there whole or not at all, and errors name the file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vqcore.errors import RunError, SettingError


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping that a JSON file holds; None where it is missing, cut short, or holds something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file up to one that was cut short; none where there is no file."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk, a lost folder or missing rights into a message that names the file.

    Raises:
        RunError: from any OSError inside.
    """
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a small text file; see ``write_bytes``."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file through a temporary one that is flushed to disk, then renamed.

    Raises:
        RunError: if it cannot be written.
    """
    with writing(path):
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def check_free(path: Path, option: str = "--output") -> None:
    """Refuse a place where something is already.

    Raises:
        SettingError: if the path is a file, or a folder with anything in it.
    """
    if path.is_symlink() or path.exists():
        found = "found files in it" if path.is_dir() else "found a file"
        if not path.is_dir() or any(path.iterdir()):
            raise SettingError(
                option,
                str(path),
                f"a place where nothing is yet, {found}",
                "choose another, or remove it",
            )


@contextmanager
def new_folder(path: Path, option: str = "--output", *, replace: bool = False) -> Iterator[Path]:
    """A folder to write into, which takes its name ``path`` when everything is in it.

    Args:
        path: of the folder.
        option: that gave the path.
        replace: take the place of a folder of that name.

    Raises:
        SettingError: see ``check_free``, or if the path ends in no name.
        RunError: if it cannot be written; nothing is left behind then.
    """
    if not replace:
        check_free(path, option)
    temporary = _beside(path, option)
    try:
        with writing(path):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            replaced = path.with_name(
                f".{path.name}.old"
            )  # moved aside first: a kill in between loses neither
            shutil.rmtree(replaced, ignore_errors=True)
            if path.exists():
                path.rename(replaced)
            temporary.rename(path)
            shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def new_file(path: Path, option: str = "--output") -> Iterator[Path]:
    """A file to write, which takes its name ``path`` when it is complete.

    Raises:
        SettingError, RunError: as ``new_folder``.
    """
    check_free(path, option)
    temporary = _beside(path, option)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _beside(path: Path, option: str) -> Path:
    """Where it is written until it is complete."""
    if path.name in ("", ".."):
        raise SettingError(option, str(path), "the name of something new", "add one, as in ./NAME")
    return path.with_name(f".{path.name}.tmp")
