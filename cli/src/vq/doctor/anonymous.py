"""Plain values without the name and the home of a user: a report is pasted into an issue."""

from __future__ import annotations

import getpass
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any


def anonymous(value: Any) -> Any:
    """The same values; in texts, the home folder is ``~`` and a folder named like the user USER."""
    return _replaced(value, _patterns())


def _patterns() -> list[tuple[re.Pattern[str], str]]:
    found, names = [], set()
    for read in (Path.home, lambda: Path(os.path.realpath(Path.home()))):
        try:
            home = read()
        except RuntimeError:  # this user has none
            continue
        if home != Path(home.anchor):
            found.append((re.compile(rf"{re.escape(str(home))}(?![\w.-])"), "~"))
            names.add(home.name)
    with suppress(OSError, KeyError, ImportError):  # a user without an entry, as in containers
        names.add(getpass.getuser())
    for name in names - {""}:
        found.append((re.compile(rf"(?<=[/\\]){re.escape(name)}(?![\w.-])"), "USER"))
    return found


def _replaced(value: Any, patterns: list[tuple[re.Pattern[str], str]]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(each, patterns) for key, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, patterns) for each in value]
    if isinstance(value, str):
        for pattern, name in patterns:
            value = pattern.sub(name, value)
    return value
