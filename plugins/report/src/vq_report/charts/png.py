"""Charts as a PNG file: a grid of panels, each laid out as on the page."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence

import PIL.Image

from vq_report.charts.axes import HEIGHT, MAP_MARGINS, MARGINS, WIDTH, Axes, chart_axes
from vq_report.charts.palette import COLORS, FAINT, GREY, INK, LINE, MUTED, palette_indices
from vq_report.charts.pen import ZOOM, Pen, text_width
from vq_report.charts.scale import short
from vqcore.plugin.report_section import Chart, Series

#: Pixels that are averaged into one of the file, in both directions, which makes edges smooth.
FINER = 3
#: Pixels of the page: around a panel, of its title, of a line of text, and of a legend's key.
GAP, TITLE, ROW, KEY = 16, 20, 15, 22
TITLE_SIZE = 13
#: Characters of a note that fit on a line.
NOTE_WIDTH = 70

#: A series in a legend, and its color.
Entry = tuple[Series, str]


def charts_png(charts: Sequence[Chart], columns: int) -> bytes:
    """The charts in rows of ``columns``, as the bytes of a PNG file.

    If all charts have the same legend, it is drawn once, below them.
    """
    legends = [_legend(chart) for chart in charts]
    names = [[series.name for series, _ in legend] for legend in legends]
    shared = legends[0] if len(charts) > 1 and all(each == names[0] for each in names) else []
    panels = [
        _panel(chart, legend if len(legend) > 1 and not shared else [])
        for chart, legend in zip(charts, legends, strict=True)
    ]
    rows = [panels[first : first + columns] for first in range(0, len(panels), columns)]
    width = columns * (WIDTH + 2 * GAP)
    if shared:
        rows.append([_list(shared, width)])
    heights = [max(panel.height for panel in row) for row in rows]
    image, top = _blank(width, max(sum(heights) // ZOOM, 1)), 0
    for row, height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            image.paste(panel, (column * panel.width, top))
        top += height
    buffer = io.BytesIO()
    image.reduce(FINER).save(buffer, "PNG")
    return buffer.getvalue()


def _panel(chart: Chart, legend: Sequence[Entry]) -> PIL.Image.Image:
    """Title, legend, axes and note of a chart, one below the other."""
    lines = list(_lines(legend))
    notes = textwrap.wrap(chart.note, NOTE_WIDTH)
    above = TITLE + ROW * len(lines)
    height = WIDTH if chart.square else HEIGHT
    below = ROW * len(notes)
    image = _blank(WIDTH + 2 * GAP, above + height + below + 2 * GAP)
    pen = Pen(image, GAP, GAP)
    pen.text(0, TITLE / 2, chart.title, size=TITLE_SIZE, color=INK)
    for number, line in enumerate(lines):
        _draw_entries(pen, TITLE + ROW * (number + 0.5), line)
    for number, note in enumerate(notes):
        pen.text(0, above + height + ROW * (number + 0.5), note)
    _draw_chart(Pen(image, GAP, GAP + above), chart)
    return image


def _blank(width: int, height: int) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (width * ZOOM, height * ZOOM), "white")


# -- the legend -------------------------------------------------------------


def _legend(chart: Chart) -> list[Entry]:
    """The series with a name; of those with the same one, the last."""
    named = {
        series.name: (series, color)
        for series, color in zip(chart.series, _colors(chart.series), strict=True)
        if series.name
    }
    return list(named.values())


def _lines(entries: Sequence[Entry]) -> Iterator[list[tuple[float, Entry]]]:
    """The entries of each line that fits a panel, and where each of them begins."""
    line: list[tuple[float, Entry]] = []
    start = 0.0
    for entry in entries:
        width = KEY + text_width(entry[0].name) + GAP
        if line and start + width > WIDTH + GAP:
            yield line
            line, start = [], 0.0
        line.append((start, entry))
        start += width
    if line:
        yield line


def _list(entries: Sequence[Entry], width: int) -> PIL.Image.Image:
    """A legend with an entry on each line."""
    image = _blank(width, ROW * len(entries) + 2 * GAP)
    for number, entry in enumerate(entries):
        _draw_entries(Pen(image, GAP, GAP), ROW * (number + 0.5), [(0, entry)])
    return image


def _draw_entries(pen: Pen, y: float, line: Sequence[tuple[float, Entry]]) -> None:
    for x, (series, color) in line:
        if series.kind in ("dots", "points"):
            pen.dot((x + KEY / 2 - 3, y), 3.5, color, hollow=series.hollow)
        elif series.kind == "bars":
            pen.box((x, y - 4), (x + KEY - 6, y + 4), color)
        else:
            pen.line([(x, y), (x + KEY - 6, y)], color, 1.8, dashed=series.dashed)
        pen.text(x + KEY, y, series.name)


# -- axes and series --------------------------------------------------------


def _draw_chart(pen: Pen, chart: Chart) -> None:
    axes = chart_axes(chart)
    if chart.square:
        _draw_edge(pen, chart, axes)
    else:
        _draw_frame(pen, chart, axes)
    if chart.diagonal:
        low, high = max(axes.x.low, axes.y.low), min(axes.x.high, axes.y.high)
        ends = [(axes.x(value), axes.y(value)) for value in (low, high)]
        pen.line(ends, MUTED, 0.8, dashed=True)
    for series, color in zip(chart.series, _colors(chart.series), strict=True):
        _draw_series(pen, series, color, axes)


def _colors(series: Sequence[Series]) -> list[str]:
    return [MUTED if index == GREY else COLORS[index] for index in palette_indices(series)]


def _draw_edge(pen: Pen, chart: Chart, axes: Axes) -> None:
    """The edge of a map."""
    if chart.disk:
        pen.circle((axes.x(0), axes.y(0)), axes.x(1) - axes.x(0), outline=LINE, width=1)
        return
    low, high = MAP_MARGINS[0] / 2, WIDTH - MAP_MARGINS[0] / 2
    corners = [(low, low), (high, low), (high, high), (low, high), (low, low)]
    pen.line(corners, LINE, 1)


def _draw_frame(pen: Pen, chart: Chart, axes: Axes) -> None:
    """Grid lines, tick labels and axis labels."""
    left, right, base = axes.x.start, axes.x.end, HEIGHT - MARGINS[3]
    if not axes.rows:
        for value in axes.y.ticks():
            y = axes.y(value)
            pen.line([(left, y), (right, y)], FAINT, 1)
            pen.text(left - 6, y, short(value), anchor="rm")
    if axes.right:
        for value in axes.right.ticks():
            pen.text(right + 6, axes.right(value), short(value))
    for value in axes.x.ticks():
        pen.text(axes.x(value), base + 12, short(value), anchor="mm")
    pen.line([(left, base), (right, base)], LINE, 1)
    pen.text(0, 6, chart.y)
    pen.text(WIDTH, 6, chart.right, anchor="rm")
    pen.text(right, HEIGHT - 6, chart.x, anchor="rm")


def _draw_series(pen: Pen, series: Series, color: str, axes: Axes) -> None:
    if series.kind == "bars":
        for corners in filter(None, axes.bars(series)):
            pen.box(*corners, color, opacity=0.85)
    elif series.kind == "intervals":
        for ends in axes.intervals(series):
            pen.line(ends, color, 1.3)
    elif series.kind in ("line", "paths"):
        opacity, width = (1.0, 1.6) if series.kind == "line" else (0.45, 0.8)
        for stroke in axes.strokes(series):
            if len(stroke) > 1:
                pen.line(stroke, color, width, opacity=opacity, dashed=series.dashed)
            elif series.kind == "line":
                pen.dot(stroke[0], 2.5, color)
    else:
        small = series.kind == "points"
        for number, place in enumerate(axes.places(series)):
            size = series.sizes[number] if number < len(series.sizes) else 3.0
            if place and small:
                pen.circle(place, 1.3, color, opacity=0.32)
            elif place:
                pen.dot(place, size, color, hollow=series.hollow)
