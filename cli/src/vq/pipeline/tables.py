"""Figures as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

UNITS = {
    "psnr": "dB",
    "mse": "of the unit range",
    "seconds": "s",
    "images_per_second": "samples/s",
    "usage": "of the codes",
    **dict.fromkeys(("index_bits_per_pixel", "index_bits_per_value"), "log2 of the codes for each index"),
    **dict.fromkeys(("entropy_bits_per_pixel", "entropy_bits_per_value"), "entropy of the usage"),
}


def figures_table(figures: Mapping[str, Any]) -> Table:
    """One row a figure, with its unit."""
    table = Table("held-out", "value", "", box=SIMPLE_HEAD)
    for name, value in figures.items():
        table.add_row(name, f"{value:.5g}" if isinstance(value, float) else str(value), UNITS.get(name, ""))
    return table
