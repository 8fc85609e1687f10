"""Reading settings from files and from text. Torch-free."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from vq.config.plain_values import plain, repeated
from vq.files import at_once
from vqcore.errors import UsageError, shortened, shown

#: Most bytes of a config file.
LARGEST_FILE = 2**20
#: Most dots in a line of TOML: reading a key of many parts takes the square of their number.
_MOST_DOTS = 100


def read_config(path: Path) -> dict[str, Any]:
    """Plain values of a config file or pipe: YAML, TOML or JSON by its suffix.

    Raises:
        UsageError: if it cannot be read or parsed, is too large, or does not hold a mapping.
    """
    source = f"--config {path}"
    try:
        content = _content(path)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{source}: cannot be read: {reason}") from error
    if len(content) > LARGEST_FILE:
        raise UsageError(f"{source}: larger than {LARGEST_FILE} bytes: this is no config")
    try:
        values = _parse(path.suffix.lower(), content.decode("utf-8-sig"))
    except RecursionError as error:
        raise UsageError(f"{source}: nested too deep") from error
    except Exception as error:  # each parser has its own exceptions
        language = path.suffix[1:] or "YAML"
        raise UsageError(f"{source}: not valid {language}: {shortened(str(error), 500)}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        found = type(values).__name__
        raise UsageError(f"{source}: expected a mapping of settings, found {found}")
    return plain(values, "")


def parse_value(text: str) -> Any:
    """The value of ``--set key=text``, read as YAML: a number, true, null, a list, or a string.

    Raises:
        UsageError: if it is not valid YAML.
    """
    try:
        return _parse(".yaml", text)
    except Exception as error:  # YAML's own, and those of numbers and dates that are none
        raise UsageError(f"value {shown(text)}: not valid YAML; quote it") from error


def _content(path: Path) -> bytes:
    """The first ``LARGEST_FILE`` bytes and one more of a file or of a pipe with a writer.

    Opening does not block, and a pipe that nobody writes to counts as unreadable: a config that
    was received with a folder must not stop a command.
    """
    with open(path, "rb", opener=at_once) as file:
        mode = os.fstat(file.fileno()).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise OSError(0, "expected a file or a pipe")
        os.set_blocking(file.fileno(), True)
        content = file.read(LARGEST_FILE + 1)
        if stat.S_ISFIFO(mode) and not content:
            raise OSError(0, "a pipe that nobody writes to")
        return content


def _parse(suffix: str, text: str) -> Any:
    if suffix == ".json":
        import json

        return json.loads(text, object_pairs_hook=_distinct)
    if suffix == ".toml":
        import tomllib

        if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
            raise ValueError(f"more than {_MOST_DOTS} dots in a line; break it")
        return tomllib.loads(text)
    import yaml

    from vq.config.yaml_loader import BoundedLoader

    return yaml.load(text, BoundedLoader)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"the key {shown(repeated(key for key, _ in pairs))} is given twice")
    return values
