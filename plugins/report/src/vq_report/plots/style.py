"""One look for every plot."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vq.runs.files import writing

INK, MUTED, GRID = "#1f2430", "#6b7280", "#e5e7eb"
COLORS = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2", "#65a30d", "#dc2626")


def figure(width: float, height: float) -> Figure:
    """An empty figure, inches, laid out by itself."""
    return Figure(figsize=(width, height), dpi=130, layout="constrained", facecolor="white")


def dress(axes: Axes, title: str, x: str = "", y: str = "") -> None:
    """Title, labels and a quiet frame."""
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(x, fontsize=8, color=MUTED)
    axes.set_ylabel(y, fontsize=8, color=MUTED)
    axes.tick_params(which="both", labelsize=8, colors=MUTED, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def save(drawing: Figure, path: Path) -> None:
    """Write the figure as PNG."""
    with writing(path):
        drawing.savefig(path)
