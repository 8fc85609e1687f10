"""How many levels each coordinate gets, from the number of codes that was asked for."""

from __future__ import annotations

import math
from functools import cache

from vqcore.errors import SettingError

#: From so many codes on there are two dimensions at least: a single line of levels says little.
TWO_DIMENSIONS = 9
#: No level is more than so many times another.
UNEVEN = 2


def choose_levels(codebook_size: int) -> tuple[int, ...]:
    """Levels, falling, of the largest product within ``codebook_size``, none of them above twice another.

    There are floor(log_5 K) dimensions, since five levels or more each is what works (Mentzer et al. 2023). Of
    equal products the most even one is taken, the one with the smallest sum. Without the bound a thousandth
    more codes would be bought with levels like (313, 13, 5, 4, 3, 2, 2, 2).

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
    found = max(
        (_search(dimensions, low, UNEVEN * low, codebook_size) for low in lowest), key=_worth
    )
    return found[::-1]


@cache
def _search(count: int, lowest: int, highest: int, limit: int) -> tuple[int, ...]:
    """``count`` rising levels between two bounds, of the largest product within the limit; () where there are none."""
    if lowest**count > limit:
        return ()
    if count == 1:
        return (min(highest, limit),)
    rests = (
        (first, _search(count - 1, first, highest, limit // first))
        for first in range(lowest, highest + 1)
    )
    return max(((first, *rest) for first, rest in rests if rest), key=_worth, default=())


def _worth(levels: tuple[int, ...]) -> tuple[int, int]:
    """The larger the better: the product, then evenness."""
    return math.prod(levels) if levels else 0, -sum(levels)
