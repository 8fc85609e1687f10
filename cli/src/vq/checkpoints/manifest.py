"""manifest.json of a checkpoint: the size and SHA-256 of each file, so that damage is noticed.

It tells damage from what was written. It is no signature: whoever can change a file can change it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vq.files import plain_name, read_bytes, read_json, write_flushed
from vqcore.errors import RunError, VQError, shown

NAME = "manifest.json"
FORMAT = 1
_log = logging.getLogger(__name__)


def digest(content: bytes) -> dict[str, Any]:
    """What a manifest records of a file."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def write(folder: Path, files: Mapping[str, Mapping[str, Any]], **more: Any) -> None:
    """Record the digests of a new folder's files, by name."""
    text = json.dumps({"format": FORMAT, **more, "files": files}, indent=2)
    write_flushed(folder / NAME, f"{text}\n".encode())


def read(folder: Path) -> dict[str, Any] | None:
    """The digests of a folder's files, by name; None where it has no manifest.

    Raises:
        RunError: if the manifest is damaged.
    """
    file = folder / NAME
    if not file.exists():
        return None
    values = read_json(file) or {}
    files = values.get("files")
    if values.get("format") != FORMAT or not isinstance(files, dict):
        found = shown(values.get("format"))
        raise RunError(f"{file}: damaged, or of format {found}: this version reads {FORMAT}")
    return files


def read_checked(file: Path, files: Any) -> bytes:
    """The content of a file, which must be the one that was recorded.

    Args:
        file: its path.
        files: what ``read`` gave, or another file recorded; None of a version that recorded none.

    Raises:
        RunError: if it is missing, cannot be read, or differs.
    """
    try:
        content = read_bytes(file)
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise RunError(f"{file}: damaged: {reason}") from error
    if files is None:
        _log.warning(f"{file}: its digest was not recorded (vq 0.1 did not), so it is not checked")
    elif not isinstance(files, Mapping) or digest(content) != files.get(file.name):
        raise RunError(f"{file}: damaged: its size and SHA-256 are not those that were recorded")
    return content


def is_intact(folder: Path) -> bool:
    """Whether a folder has a manifest, and every file is as recorded there."""
    try:
        files = read(folder)
        for name in files or ():
            read_checked(folder / plain_name(name, NAME), files)
    except VQError:
        return False
    return bool(files)
