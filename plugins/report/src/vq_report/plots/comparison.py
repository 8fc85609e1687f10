"""Curves of several runs in one picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from vq_report.plots.style import COLORS, dress, figure

#: What is drawn: name in metrics.jsonl, title, whether the axis is logarithmic.
_PANELS = (
    ("reconstruction", "reconstruction loss, training", True),
    ("test_psnr", "held-out PSNR, dB", False),
    ("test_perplexity", "held-out perplexity", False),
)
_STYLES = ("-", "--", ":")


def comparison_png(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """The lines of each run's metrics.jsonl as curves in shared panels; the bytes of a PNG file."""
    drawing = figure(12, 3.6 + 0.16 * len(runs))
    panels = drawing.subplots(1, len(_PANELS))
    looks = cycle([(color, style) for style in _STYLES for color in COLORS])
    for (name, lines), (color, style) in zip(runs.items(), looks, strict=False):
        for axes, (key, _, _) in zip(panels, _PANELS, strict=True):
            points = [(line["step"], line[key]) for line in lines if key in line]
            marker = "o" if 0 < len(points) < 3 else None
            steps, values = zip(*points, strict=True) if points else ((), ())
            axes.plot(
                steps,
                values,
                style,
                color=color,
                label=name,
                linewidth=1.6,
                marker=marker,
                markersize=3,
            )
    for axes, (_, title, logarithmic) in zip(panels, _PANELS, strict=True):
        dress(axes, title, "step")
        if logarithmic:
            axes.set_yscale("log")
    handles, names = panels[0].get_legend_handles_labels()
    drawing.legend(handles, names, frameon=False, fontsize=8, loc="outside lower left", ncols=2)
    file = io.BytesIO()
    drawing.savefig(file, format="png")
    return file.getvalue()
