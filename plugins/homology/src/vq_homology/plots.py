"""PNG plots of a run's homology: diagrams over training, barcodes, and curves beside perplexity."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vq_homology.diagram_record import longest
from vqcore.plugin.report_section import Point

if TYPE_CHECKING:
    from vqcore.plugin.protocols import Folder

with warnings.catch_warnings():
    # persim 0.4 contains invalid escape sequences, which Python warns about at compilation.
    message = "invalid escape sequence"
    warnings.filterwarnings("ignore", message=message, category=DeprecationWarning)
    import persim

INK, MUTED, GRID = "#1f2430", "#6b7280", "#e5e7eb"
H0, H1, OTHER = "#2563eb", "#d97706", "#6b7280"
#: Diagrams over training, and the longest bars of a barcode.
MOMENTS = 4
BARS = 40

Lines = Sequence[Mapping[str, Any]]


def save(folder: Folder, lines: Lines, metrics: Lines, cloud: str) -> None:
    """Plot the record of ``codebook`` or ``latents`` together with the lines of metrics.jsonl."""
    lines = [line for line in lines if cloud in line]
    figure = Figure(figsize=(13, 6.4), dpi=130, layout="constrained", facecolor="white")
    grid = figure.subplots(2, MOMENTS)
    chosen = np.unique(np.linspace(0, len(lines) - 1, MOMENTS).round().astype(int)).tolist()
    deaths = [death for line in lines for death in line[cloud]["h0"]]
    deaths += [death for line in lines for _, death in line[cloud]["h1"]]
    widest = 1.05 * max(deaths, default=0) + 1e-9
    for axes, place in zip(grid[0], chosen, strict=False):
        title = f"{cloud}, step {lines[place]['step']}"
        _plot_diagram(axes, lines[place][cloud], title, widest)
    for axes in grid[0][len(chosen) :]:
        axes.set_axis_off()
    last = lines[-1][cloud]
    components = [(0.0, death) for death in last["h0"]]
    _plot_barcode(grid[1][0], components, H0, "H0 bars at the end")
    _plot_barcode(grid[1][1], last["h1"], H1, "H1 bars at the end")
    lengths = {"mean H0 death": f"{cloud}_h0", "total H1 lifetime": f"{cloud}_h1"}
    _plot_curves(grid[1][2], metrics, lengths)
    _plot_curves(grid[1][3], metrics, {"persistent entropy": f"{cloud}_persistent_entropy"})
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    folder.write(f"homology-{cloud}.png", buffer.getvalue())


def _plot_diagram(axes: Axes, found: Mapping[str, Any], title: str, widest: float) -> None:
    h0 = np.array([(0.0, death) for death in found["h0"]]).reshape(-1, 2)
    h1 = np.array(found["h1"]).reshape(-1, 2)
    extent = [-0.02 * widest, widest, 0, widest]
    with matplotlib.rc_context():  # persim changes the style of all later figures
        persim.plot_diagrams([h0, h1], ax=axes, size=12, labels=["H0", "H1"], xy_range=extent)
    for collection, color in zip(axes.collections, (H0, H1), strict=False):
        collection.set_color(color)
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    _style(axes, title, "birth / spread", "death / spread")


def _plot_barcode(axes: Axes, pairs: Sequence[Point], color: str, title: str) -> None:
    shown = f", the longest {BARS} of {len(pairs)}" if len(pairs) > BARS else f", {len(pairs)}"
    for row, (birth, death) in enumerate(longest(pairs, BARS)):
        axes.plot([birth, death], [row, row], color=color, linewidth=1.4)
    axes.set_yticks([])
    _style(axes, title + shown, "length / spread")


def _plot_curves(axes: Axes, metrics: Lines, names: Mapping[str, str]) -> None:
    """Metrics over the steps by label, with perplexity on a second axis for comparison."""
    for (label, name), color in zip(names.items(), (H0, H1), strict=False):
        _plot_curve(axes, metrics, name, color=color, label=label)
    axes.margins(y=0.15)
    axes.set_ylim(bottom=0)
    _style(axes, " and ".join(names), "step")
    twin = axes.twinx()
    _plot_curve(twin, metrics, "perplexity", color=OTHER, label="perplexity", linestyle="--")
    twin.set_ylim(bottom=0)
    _mute(twin)
    curves = [*axes.lines, *twin.lines]
    labels = [str(curve.get_label()) for curve in curves]
    axes.legend(curves, labels, loc="lower right", frameon=False, fontsize=8)


def _plot_curve(axes: Axes, metrics: Lines, name: str, **style: Any) -> None:
    points = [(line["step"], line[name]) for line in metrics if name in line]
    if points:
        marker = "o" if len(points) < 3 else None
        axes.plot(*zip(*points, strict=True), marker=marker, **style)


def _style(axes: Axes, title: str, x: str, y: str = "") -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(x, fontsize=8, color=MUTED)
    axes.set_ylabel(y, fontsize=8, color=MUTED)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    _mute(axes)


def _mute(axes: Axes) -> None:
    axes.tick_params(labelsize=8, colors=MUTED, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
