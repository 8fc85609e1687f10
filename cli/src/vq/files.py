"""Reads and writes files: each is written whole or not at all, and errors name it."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vqcore.errors import RunError, SettingError


def as_path(setting: str, value: Any, fix: str = "") -> Path:
    """A path that was given in Python.

    Raises:
        SettingError: naming the setting, if it is neither text nor a path.
    """
    if not isinstance(value, str | Path):
        raise SettingError(setting, type(value).__name__, "a path", fix)
    return Path(value)


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping that a JSON file holds; None where the file is missing or damaged."""
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


def read_image(path: Path) -> bytes | None:
    """The content of an image file; None where it is missing or damaged."""
    import PIL.Image

    try:
        content = path.read_bytes()
        with PIL.Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for damaged files
        return None
    return content


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk, a lost folder or missing permissions into an error that names the file.

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


def write_json(path: Path, value: Any) -> None:
    """Write a small JSON file; see ``write_bytes``. What JSON lacks is written as text."""
    write_text(path, json.dumps(value, indent=2, default=str) + "\n")


def write_yaml(path: Path, value: Any) -> None:
    """Write a small YAML file, keys in the given order; see ``write_bytes``."""
    import yaml

    write_text(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file through a temporary one that is flushed to disk, then renamed.

    Raises:
        RunError: if it cannot be written.
    """
    with writing(path):
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            write_flushed(temporary, content)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_flushed(path: Path, content: bytes) -> None:
    """Write a file in place, and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


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
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            # moved aside first: a kill in between loses neither
            replaced = path.with_name(f".{path.name}.old")
            shutil.rmtree(replaced, ignore_errors=True)
            if path.exists():
                path.rename(replaced)
            temporary.rename(path)
            shutil.rmtree(replaced, ignore_errors=True)
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
            yield temporary
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _beside(path: Path, option: str = "--output") -> Path:
    """The path at which it is written until it is complete."""
    if path.name in ("", ".."):
        raise SettingError(option, str(path), "a path that ends in a name", "add one, as in ./NAME")
    return path.with_name(f".{path.name}.tmp")
