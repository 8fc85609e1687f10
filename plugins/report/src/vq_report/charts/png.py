"""Charts as a PNG file: a grid of panels drawn by matplotlib."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from vq_report.charts.axes import chart_axes
from vq_report.charts.palette import COLORS, FAINT, GREY, INK, LINE, MUTED, palette_indices
from vq_report.charts.scale import Scale, short
from vqcore.plugin.report_section import Chart, Series

#: Inches of a panel, and of a line of the legend.
WIDTH, HEIGHT, MAP_HEIGHT, LEGEND_LINE = 4.6, 3.4, 4.8, 0.16
#: Points of the drawing per pixel of the page.
POINTS = 0.9


def charts_png(charts: Sequence[Chart], columns: int) -> bytes:
    """The charts in rows of ``columns``, as the bytes of a PNG file.

    If all charts have the same legend, it is drawn once, below them. Texts are plain: ``$`` begins
    no formula.
    """
    with rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a run's name; drawn as a box
        return _charts_png(charts, columns)


def _charts_png(charts: Sequence[Chart], columns: int) -> bytes:
    rows = max(math.ceil(len(charts) / columns), 1)
    height = MAP_HEIGHT if any(chart.square for chart in charts) else HEIGHT
    figure = Figure((WIDTH * columns, height * rows), 130, layout="constrained", facecolor="white")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    legends = [draw(panel, chart) for panel, chart in zip(panels, charts, strict=False)]
    for panel in panels[len(charts) :]:
        panel.set_axis_off()
    style = {"frameon": False, "fontsize": 8}
    if len(legends) > 1 and all(list(legend) == list(legends[0]) for legend in legends):
        entries = {name: artist for legend in legends for name, artist in legend.items()}
        figure.set_figheight(figure.get_figheight() + LEGEND_LINE * (len(entries) + 1))
        figure.legend(entries.values(), entries.keys(), loc="outside lower left", **style)
        legends = []
    for panel, chart, legend in zip(panels, charts, legends, strict=False):
        below = {"loc": "upper left", "bbox_to_anchor": (0, 0), "ncols": 3} if chart.square else {}
        if len(legend) > 1:
            panel.legend(legend.values(), legend.keys(), **style, **below)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def draw(panel: Panel, chart: Chart) -> dict[str, Any]:
    """Draw a chart in a panel; returns its legend, an artist for each name."""
    axes = chart_axes(chart)
    second = panel.twinx() if axes.right else panel
    _style(panel, chart.y)
    panel.set_title(chart.title, loc="left", fontsize=10, color=INK)
    panel.set_xlabel("\n".join(filter(None, (chart.x, chart.note))), fontsize=8, color=MUTED)
    _set_scale(panel, "x", axes.x)
    _set_scale(panel, "y", axes.y)
    if axes.right:
        _style(second, chart.right)
        _set_scale(second, "y", axes.right)
    if chart.square:
        panel.set(xticks=[], yticks=[], aspect="equal")
        panel.spines[:].set(visible=not chart.disk, color=LINE)
    else:
        panel.grid(color=FAINT, linewidth=0.8)
        panel.set_axisbelow(True)
    if axes.rows:
        panel.set_yticks([])
        panel.invert_yaxis()
    if chart.disk:
        panel.add_patch(Circle((0, 0), 1, fill=False, color=INK, linewidth=1))
    if chart.diagonal:
        panel.axline((0, 0), slope=1, color=MUTED, linewidth=0.8, linestyle=":")
    legend: dict[str, Any] = {}
    for series, index in zip(chart.series, palette_indices(chart.series), strict=True):
        color = MUTED if index == GREY else COLORS[index]
        artist = _draw_series(second if series.right else panel, series, color)
        if series.name:
            legend[series.name] = artist
    return legend


def _draw_series(panel: Panel, series: Series, color: str) -> Any:
    x, y = [x for x, _ in series.points], [y for _, y in series.points]
    if series.kind == "bars":
        return panel.bar(x, y, x[1] - x[0] if len(x) > 1 else 1.0, color=color, alpha=0.85)
    if series.kind == "intervals":
        return panel.hlines(range(len(x)), x, y, color=color, linewidth=1.4)
    if series.kind == "points":
        return panel.scatter(x, y, 5, color=color, alpha=0.3, linewidths=0)
    if series.kind == "dots":
        areas = [(2 * POINTS * radius) ** 2 for radius in series.sizes] or (6 * POINTS) ** 2
        if series.hollow:
            return panel.scatter(x, y, areas, facecolors="none", edgecolors=color)
        return panel.scatter(x, y, areas, color=color, alpha=0.8, edgecolors="white")
    if series.kind == "paths":
        return panel.plot(x, y, color=color, linewidth=0.8, alpha=0.45)[0]
    marker = "o" if len(x) == 1 else None
    style = "--" if series.dashed else "-"
    return panel.plot(x, y, style, color=color, linewidth=1.6, marker=marker, markersize=3)[0]


def _style(panel: Panel, label: str) -> None:
    panel.set_ylabel(label, fontsize=8, color=MUTED)
    panel.tick_params(which="both", labelsize=8, colors=MUTED, length=0)
    panel.spines[:].set_visible(False)


def _set_scale(panel: Panel, name: str, scale: Scale) -> None:
    """The limits and ticks that the page has."""
    kind = "log" if scale.log else "linear"
    panel.set(**{f"{name}scale": kind, f"{name}lim": (scale.low, scale.high)})
    ticks = scale.ticks()
    panel.set(**{f"{name}ticks": ticks, f"{name}ticklabels": map(short, ticks)})
    panel.minorticks_off()
