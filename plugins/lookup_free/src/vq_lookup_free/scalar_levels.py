"""The levels of FSQ's coordinates for a number of codes."""

from __future__ import annotations

import math
from functools import cache

from vqcore.errors import SettingError

#: Smallest number of codes with two dimensions: a single row of levels carries little structure.
TWO_DIMENSIONS = 9
#: Largest ratio of two levels.
UNEVEN = 2


def choose_levels(codebook_size: int) -> tuple[int, ...]:
    """Levels, falling, with the largest product up to ``codebook_size``, within a ratio of 2.

    There are floor(log_5 K) dimensions, since 5 and more levels work well (Mentzer et al. 2023). Of
    equal products the one with the smallest sum, the most even one, is taken. Without the limit on
    the ratio, 0.1 % more codes would cost levels like (313, 13, 5, 4, 3, 2, 2, 2).

    Raises:
        SettingError: for fewer than 2 codes.
    """
    if codebook_size < 2:
        raise SettingError("codebook_size", codebook_size, "at least 2 codes")
    dimensions = 1 if codebook_size < TWO_DIMENSIONS else 2
    while 5 ** (dimensions + 1) <= codebook_size:
        dimensions += 1
    if dimensions == 1:
        return (codebook_size,)
    lowest = range(2, round(codebook_size ** (1 / dimensions)) + 1)
    rows = (_search(dimensions, low, UNEVEN * low, codebook_size) for low in lowest)
    return max(rows, key=_rank)[::-1]


@cache
def _search(count: int, lowest: int, highest: int, limit: int) -> tuple[int, ...]:
    """``count`` rising levels in a range with the largest product up to a limit; () if none."""
    if lowest**count > limit:
        return ()
    if count == 1:
        return (min(highest, limit),)
    rests = (
        (first, _search(count - 1, first, highest, limit // first))
        for first in range(lowest, highest + 1)
    )
    return max(((first, *rest) for first, rest in rests if rest), key=_rank, default=())


def _rank(levels: tuple[int, ...]) -> tuple[int, int]:
    """Larger is better: the product, then evenness."""
    return math.prod(levels) if levels else 0, -sum(levels)
