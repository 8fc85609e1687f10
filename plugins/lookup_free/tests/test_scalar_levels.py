"""The levels that fsq chooses: the largest product that fits, as even as possible."""

import math

import pytest

from vq_lookup_free.scalar_levels import choose_levels
from vqcore.errors import SettingError


def dimensions(codebook_size):
    """max(1 or 2, floor(log_5 K)), counted."""
    fewest = 1 if codebook_size < 9 else 2
    return max(fewest, sum(5**d <= codebook_size for d in range(1, 30)))


def rising(count, lowest, highest, limit):
    """Every rising row of levels between two bounds whose product is within the limit."""
    if count == 0:
        return [()]
    firsts = [first for first in range(lowest, highest + 1) if first**count <= limit]
    return [
        (first, *rest)
        for first in firsts
        for rest in rising(count - 1, first, highest, limit // first)
    ]


@pytest.mark.parametrize("codebook_size", [*range(9, 60), 100, 255, 1000, 1023, 4096, 9973])
def test_no_even_row_of_levels_has_a_larger_product(codebook_size):
    found, count = choose_levels(codebook_size), dimensions(codebook_size)
    rows = [
        row
        for low in range(2, 40)
        for row in rising(count, low, 2 * low, codebook_size)
        if row[0] == low
    ]
    best = max(rows, key=lambda row: (math.prod(row), -sum(row)))
    assert found == best[::-1]


@pytest.mark.parametrize(
    ("codebook_size", "levels"),
    [
        (2, (2,)),
        (8, (8,)),
        (9, (3, 3)),
        (16, (4, 4)),
        (64, (8, 8)),
        (1000, (8, 5, 5, 5)),
        (65536, (8,) * 4 + (4,) * 2),
    ],
)
def test_levels_by_hand(codebook_size, levels):
    assert choose_levels(codebook_size) == levels


def test_every_size_gets_most_of_its_codes():
    for codebook_size in range(2, 3000):
        share = math.prod(choose_levels(codebook_size)) / codebook_size
        assert 0.8 < share <= 1


def test_levels_of_the_largest_size():
    levels = choose_levels(2**62)
    assert len(levels) == 26
    assert math.prod(levels) == 2**62


def test_one_code_is_refused():
    with pytest.raises(SettingError, match="codebook_size = 1: expected at least 2 codes"):
        choose_levels(1)
