"""Reading settings from files and from text. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vqcore.errors import UsageError


def read_config(path: Path) -> dict[str, Any]:
    """Plain values of a config file: YAML, TOML or JSON by its suffix.

    Raises:
        UsageError: if the file cannot be read or parsed, or does not hold a mapping.
    """
    try:
        values = _parse(path.suffix.lower(), path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # each parser has its own exceptions
        language = path.suffix[1:] or "YAML"
        raise UsageError(f"--config {path}: not valid {language}: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        found = type(values).__name__
        raise UsageError(f"--config {path}: expected a mapping of settings, found {found}")
    return values


def parse_value(text: str) -> Any:
    """The value of ``--set key=text``, read as YAML: a number, true, null, a list, or a string.

    Raises:
        UsageError: if it is not valid YAML.
    """
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"value {text!r}: not valid YAML; quote it") from error


def _parse(suffix: str, text: str) -> Any:
    if suffix == ".json":
        import json

        return json.loads(text)
    if suffix == ".toml":
        import tomllib

        return tomllib.loads(text)
    import yaml

    return yaml.safe_load(text)
