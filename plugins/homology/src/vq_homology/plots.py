"""The picture of a run's homology: diagrams over training, barcodes, and curves beside perplexity."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

with warnings.catch_warnings():
    # persim 0.4 has strings with escapes that Python warns of when it compiles them.
    warnings.filterwarnings(
        "ignore", message="invalid escape sequence", category=DeprecationWarning
    )
    import persim

INK, MUTED, GRID = "#1f2430", "#6b7280", "#e5e7eb"
H0, H1, OTHER = "#2563eb", "#d97706", "#6b7280"
#: Diagrams over training, and bars of a barcode at most: the longest.
MOMENTS, BARS = 4, 40


def save(
    path: Path, lines: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]], cloud: str
) -> None:
    """Draw the record's ``lines`` for one cloud, ``codebook`` or ``latents``, beside the lines of metrics.jsonl."""
    lines = [line for line in lines if cloud in line]
    drawing = Figure(figsize=(13, 6.4), dpi=130, layout="constrained", facecolor="white")
    grid = drawing.subplots(2, MOMENTS)
    chosen = np.unique(np.linspace(0, len(lines) - 1, MOMENTS).round().astype(int)).tolist()
    deaths = [
        death
        for line in lines
        for death in (*line[cloud]["h0"], *(pair[1] for pair in line[cloud]["h1"]))
    ]
    widest = max(deaths, default=0)
    for axes, place in zip(grid[0], chosen, strict=False):
        _diagram(
            axes, lines[place][cloud], f"{cloud}, step {lines[place]['step']}", 1.05 * widest + 1e-9
        )
    for axes in grid[0][len(chosen) :]:
        axes.set_axis_off()
    last = lines[-1][cloud]
    _bars(grid[1][0], [(0, death) for death in last["h0"]], H0, "H0 bars at the end")
    _bars(grid[1][1], last["h1"], H1, "H1 bars at the end")
    steps = [line["step"] for line in metrics]
    _curves(
        grid[1][2], steps, metrics, {"mean H0 death": f"{cloud}_h0", "total H1 life": f"{cloud}_h1"}
    )
    _curves(grid[1][3], steps, metrics, {"persistent entropy": f"{cloud}_persistent_entropy"})
    for axes in grid[1][2:]:
        _beside(axes, steps, metrics)
    drawing.savefig(path)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of the run's metrics.jsonl."""
    return [
        json.loads(line)
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def _diagram(axes: Axes, found: Mapping[str, Any], title: str, widest: float) -> None:
    h0 = np.array([(0.0, death) for death in found["h0"]]).reshape(-1, 2)
    h1 = np.array(found["h1"]).reshape(-1, 2)
    with matplotlib.rc_context():  # persim sets the style of every figure to come
        persim.plot_diagrams(
            [h0, h1],
            ax=axes,
            size=12,
            labels=["H0", "H1"],
            xy_range=[-0.02 * widest, widest, 0, widest],
            legend=True,
        )
    for collection, color in zip(axes.collections, (H0, H1), strict=False):
        collection.set_color(color)
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    _dress(axes, title, "birth / spread", "death / spread")


def _bars(axes: Axes, pairs: Sequence[Sequence[float]], color: str, title: str) -> None:
    longest = sorted(pairs, key=lambda pair: pair[0] - pair[1])[:BARS]
    shown = f", the longest {BARS} of {len(pairs)}" if len(pairs) > BARS else f", {len(pairs)}"
    for row, (birth, death) in enumerate(sorted(longest)):
        axes.plot([birth, death], [row, row], color=color, linewidth=1.4)
    axes.set_yticks([])
    _dress(axes, title + shown, "length / spread")


def _curves(
    axes: Axes, steps: Sequence[int], metrics: Sequence[Mapping[str, Any]], names: Mapping[str, str]
) -> None:
    for (label, name), color in zip(names.items(), (H0, H1), strict=False):
        points = [
            (step, line[name]) for step, line in zip(steps, metrics, strict=True) if name in line
        ]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                color=color,
                label=label,
                marker="o" if len(points) < 3 else None,
            )
    axes.margins(y=0.15)
    axes.set_ylim(bottom=0)
    _dress(axes, " and ".join(names), "step")


def _beside(axes: Axes, steps: Sequence[int], metrics: Sequence[Mapping[str, Any]]) -> None:
    """Perplexity on an axis of its own, so that one sees which moves with which."""
    twin = axes.twinx()
    known = [
        (step, line["perplexity"])
        for step, line in zip(steps, metrics, strict=True)
        if "perplexity" in line
    ]
    if known:
        marker = "o" if len(known) < 3 else None
        twin.plot(
            *zip(*known, strict=True),
            color=OTHER,
            linestyle="--",
            label="perplexity",
            marker=marker,
        )
    twin.set_ylim(bottom=0)
    twin.tick_params(labelsize=8, colors=MUTED, length=0)
    for side in twin.spines.values():
        side.set_visible(False)
    handles = axes.lines + twin.lines
    axes.legend(
        handles,
        [line.get_label() for line in handles],
        loc="lower right",
        frameon=False,
        fontsize=8,
    )


def _dress(axes: Axes, title: str, x: str, y: str = "") -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(x, fontsize=8, color=MUTED)
    axes.set_ylabel(y, fontsize=8, color=MUTED)
    axes.tick_params(labelsize=8, colors=MUTED, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
