"""Classes from folders: that of an image is the topmost folder of its relative path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from vqcore.errors import printable


def class_names(names: Iterable[str]) -> list[str] | None:
    """The topmost folders of relative paths, sorted.

    None if there is only one, or a path is in none.
    """
    folders = {_topmost(name) for name in names}
    return sorted(map(printable, folders)) if len(folders) > 1 and "" not in folders else None


def class_numbers(names: Iterable[str], classes: Sequence[str] | None) -> Tensor | None:
    """The number (N,) int64 of each path's class; None without classes."""
    if classes is None:
        return None
    of_shown = {name: number for number, name in enumerate(classes)}
    of_folder: dict[str, int] = {}
    numbers = []
    for name in names:
        folder = _topmost(name)
        if folder not in of_folder:
            of_folder[folder] = of_shown[printable(folder)]
        numbers.append(of_folder[folder])
    return torch.from_numpy(np.array(numbers, np.int64))


def _topmost(name: str) -> str:
    return name[: max(name.find("/"), 0)]
