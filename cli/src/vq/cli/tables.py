"""Tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

UNITS = {
    "psnr": "dB",
    "mse": "of the unit range",
    "seconds": "s",
    "images_per_second": "samples/s",
    "usage": "of the codes",
    **dict.fromkeys(
        ("index_bits_per_pixel", "index_bits_per_value"), "log2 of the codes for each index"
    ),
    **dict.fromkeys(("entropy_bits_per_pixel", "entropy_bits_per_value"), "entropy of the usage"),
}


def figures_table(figures: Mapping[str, Any]) -> Table:
    """One row a figure, with its unit."""
    table = Table("held-out", "value", "", box=SIMPLE_HEAD)
    for name, value in figures.items():
        table.add_row(
            name, f"{value:.5g}" if isinstance(value, float) else str(value), UNITS.get(name, "")
        )
    return table


def fitting_tables(rows: Sequence[Sequence[str]], width: int, keep: int = 1) -> list[Table]:
    """Rows of marked-up cells, the header first: one table, or where it is too wide, several of some columns each.

    Args:
        rows: as many cells in each.
        width: of the terminal, in characters.
        keep: first columns that every table repeats.
    """
    sizes = [
        3 + max(Text.from_markup(cell).cell_len for cell in column)
        for column in zip(*rows, strict=True)
    ]
    parts = [[*range(keep)]]
    for index in range(keep, len(sizes)):
        if len(parts[-1]) > keep and sum(sizes[i] for i in (*parts[-1], index)) >= width:
            parts.append([*range(keep)])
        parts[-1].append(index)
    return [_table([[row[i] for i in part] for row in rows]) for part in parts]


def _table(rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*(Column(name, overflow="fold") for name in rows[0]), box=SIMPLE_HEAD)
    for row in rows[1:]:
        table.add_row(*row)
    return table
