"""Many names in one buffer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np


class PackedNames(Sequence[str]):
    """Names, each made anew when it is asked for.

    A million strings in a list take over 100 MB. Forked processes copy them page by page, since
    reading a string counts a reference to it. Here, a name takes its bytes and 8 more.
    """

    def __init__(self, names: Iterable[str | os.PathLike[str]]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._text = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[row] for row in range(len(self))[index]]
        row = range(len(self))[index]
        return os.fsdecode(self._text[self._ends[row] : self._ends[row + 1]])
