"""What a config may hold: text, numbers, lists and mappings of a bounded size. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vqcore.errors import UsageError, shown, shown_key

#: Most mappings and lists inside one another: four for each level of nested components.
DEEPEST = 64
#: Most values in one mapping or list.
MOST_VALUES = 10_000
_LARGEST_INTEGER = 2**64


def plain(value: Any, path: str, depth: int = 0) -> Any:
    """A value as a config file would have it: paths as text, sequences as lists, plain numbers.

    ``path`` is its key path, empty for all settings together. Other objects stay as they are: the
    options that they are given for accept or refuse them.

    Raises:
        UsageError: naming the key path, for what config.yaml could not hold.
    """
    if depth > DEEPEST:
        raise UsageError(f"{path.partition('.')[0]}: nested more than {DEEPEST} deep")
    if isinstance(value, Mapping | list | tuple) and len(value) > MOST_VALUES:
        raise UsageError(f"{path or 'config'}: {len(value)} values, expected {MOST_VALUES} at most")
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, Mapping):
        return {
            _check_key(key, path): plain(each, f"{path}.{key}" if path else str(key), depth + 1)
            for key, each in value.items()
        }
    elif isinstance(value, list | tuple):
        return [plain(each, path, depth + 1) for each in value]
    elif getattr(value, "shape", None) == () and hasattr(value, "item"):  # of NumPy or torch
        return value.item()
    elif isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise UsageError(f"{path} = {shown(value)}: expected an integer of at most 64 bits")
    return value


def repeated(texts: Iterable[str]) -> str | None:
    """The first text that has been there before; None if there is none."""
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            return text
        seen.add(text)
    return None


def _check_key(key: Any, path: str) -> Any:
    if isinstance(key, str) and shown_key(key) != key:
        where = f"{path}: " if path else ""
        raise UsageError(f"{where}expected names of settings as keys, found {shown(key)}")
    return key


def _check_text(text: str, path: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"{path} = {shown(text)}: expected text that UTF-8 can hold") from None
    if "\0" in text:
        raise UsageError(f"{path} = {shown(text)}: expected text without null characters")
