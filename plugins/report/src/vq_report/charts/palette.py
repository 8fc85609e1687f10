"""The colors of series, the same on the page and in PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from vqcore.plugin.report_section import Series

#: The light theme of style.css, which has these colors as ``--p0`` to ``--p7``.
COLORS = (
    *("#1d4ed8", "#c2570c", "#047857", "#be185d"),
    *("#6d28d9", "#0e7490", "#4d7c0f", "#b91c1c"),
)
INK, MUTED, LINE, FAINT = "#1b1d22", "#5f6570", "#dfe1e4", "#eceef0"
GREY = -1


def palette_indices(series: Sequence[Series]) -> list[int]:
    """Index into ``COLORS`` of each series: its own or the next free one; ``GREY`` for grey."""
    free = count()
    chosen = [next(free) if each.color is None else each.color for each in series]
    return [index % len(COLORS) if index >= 0 else GREY for index in chosen]
