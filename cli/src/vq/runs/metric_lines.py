"""The lines of a metrics.jsonl: which are good, and which are damaged. Torch-free."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vq.files import read_bytes
from vqcore.errors import RunError


@dataclass(frozen=True)
class MetricLines:
    """What a file holds.

    Attributes:
        lines: the good ones. Each has a ``step``; its other values are numbers, or lists and
            mappings of numbers.
        texts: the same, as they are in the file.
        damaged: all other lines, but not a last one that a crash cut short.
    """

    lines: list[dict[str, Any]] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    damaged: list[bytes] = field(default_factory=list)


def read_metric_lines(path: Path) -> MetricLines:
    """Read a file of metrics, which need not exist.

    Raises:
        RunError: if it is there and cannot be read.
    """
    found = MetricLines()
    try:
        texts = read_bytes(path).split(b"\n")
    except FileNotFoundError:
        return found
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    for number, text in enumerate(texts, 1):
        line = _parsed(text)
        if line is not None:
            found.lines.append(line)
            found.texts.append(text)
        elif text.strip() and number < len(texts):
            found.damaged.append(text)
    return found


def _parsed(text: bytes) -> dict[str, Any] | None:
    """The line, or None of a damaged one."""
    try:
        line = json.loads(text.decode("utf-8"))
        good = isinstance(line, dict) and type(line.get("step")) is int and line["step"] >= 0
        return line if good and _is_plain(line) else None
    except (ValueError, RecursionError):
        return None


def _is_plain(value: Any) -> bool:
    """Whether a value consists of numbers alone, each a float or within the range of one.

    Infinity is one: the PSNR of a perfect reconstruction.

    Raises:
        UnicodeEncodeError: of a name that could not be written.
    """
    if isinstance(value, dict):
        "".join(value).encode()
        return all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return type(value) is float or (type(value) is int and abs(value) <= sys.float_info.max)
