"""How a run went: loss terms, held-out quality, use of the codebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from vq_report.plots.style import COLORS, dress, figure, save


def save_curves(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Draw the lines of metrics.jsonl; a model without codes has no panel on them."""
    coded = any("perplexity" in line for line in lines)
    drawing = figure(11 if coded else 7.4, 3.4)
    losses, quality, *usage = drawing.subplots(1, 2 + coded)
    terms = dict.fromkeys(name for line in lines for name in terms_of(line))
    for color, name in zip(COLORS, terms, strict=False):
        _line(losses, lines, name, color, name)
    if any(line.get(name, 0) > 0 for line in lines for name in terms):
        losses.set_yscale("log")
    dress(losses, "loss terms, weighted", "step")
    _line(quality, lines, "test_psnr", COLORS[0], "held-out")
    dress(quality, "PSNR, dB", "step")
    for axes in usage:
        _line(axes, lines, "perplexity", COLORS[1], "training window")
        _line(axes, lines, "test_perplexity", COLORS[0], "held-out")
        _line(axes, lines, "codes_used", COLORS[2], "codes used, training window")
        axes.set_ylim(bottom=0)
        dress(axes, "perplexity of code usage", "step")
    for axes in (losses, quality, *usage):
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    save(drawing, path)


#: What comes first after the loss terms.
FOLLOWING = ("grad_norm", "perplexity", "images_per_second")


def terms_of(line: Mapping[str, Any]) -> list[str]:
    """The loss terms of a line: what stands between their sum and the figures that follow them."""
    names = list(line)
    if "loss" not in line:
        return []
    terms = names[names.index("loss") + 1 :]
    return list(takewhile(lambda name: name not in FOLLOWING, terms))


def _line(
    axes: Axes, lines: Sequence[Mapping[str, Any]], name: str, color: str, label: str
) -> None:
    points = [(line["step"], line[name]) for line in lines if name in line]
    if points:
        marker = "o" if len(points) < 3 else None
        axes.plot(
            *zip(*points, strict=True),
            color=color,
            label=label,
            linewidth=1.6,
            marker=marker,
            markersize=3,
        )
