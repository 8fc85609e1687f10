"""Names and paths that a user or a received file gives, and the folder of this user's state."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from vqcore.errors import SettingError, UsageError, shown

#: What is in no plain name: separators of paths and control characters.
_NO_NAME = re.compile(r"[/\\\x00-\x1f\x7f]")


def as_path(setting: str, value: Any, fix: str = "") -> Path:
    """A path that was given in Python.

    Raises:
        SettingError: naming the setting, if it is neither text nor a path.
    """
    if not isinstance(value, str | Path):
        raise SettingError(setting, type(value).__name__, "a path", fix)
    return Path(value)


def plain_name(value: Any, source: str) -> str:
    """A name that a received file gives for a file or folder beside it: one path component.

    Args:
        value: as it was read.
        source: the file and the key that gave it, for the message.

    Raises:
        UsageError: if it is no text, or could point anywhere else.
    """
    plain = (
        isinstance(value, str)
        and value not in ("", ".", "..")
        and not _NO_NAME.search(value)
        and len(value.encode("utf-8", "surrogatepass")) <= 255
    )
    if not plain:
        raise UsageError(f"{source} = {shown(value)}: expected a plain name, without a path")
    return str(value)


def plain_path(value: Any, source: str) -> str:
    """A relative path that a received file gives for a file below it: see ``plain_name``."""
    for name in value.split("/") if isinstance(value, str) else [value]:
        plain_name(name, source)
    return str(value)


def state_folder() -> Path:
    """Where programs keep what belongs to a user and a machine. No relative path may decide it.

    Raises:
        RuntimeError: if this user has no home.
    """
    given = os.environ.get("XDG_STATE_HOME", "")
    base = Path(given) if os.path.isabs(given) else Path.home() / ".local" / "state"
    return base / "vq"
