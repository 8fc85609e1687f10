"""Charts as SVG: sharp at every size, and colored by the page's style sheet, light or dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import zip_longest

from vq_report.charts.axes import HEIGHT, MAP_MARGINS, MARGINS, WIDTH, Axes, chart_axes
from vq_report.charts.palette import palette_indices
from vq_report.charts.scale import short
from vqcore.plugin.report_section import Chart, Point, Series

BASE = HEIGHT - MARGINS[3]
#: Lines of more points than this have no tooltips: each takes about 100 bytes.
TOOLTIPS = 300


def draw(chart: Chart, identifier: str) -> str:
    """The chart as an ``<svg>`` element; ``identifier`` must be unique in the page."""
    axes = chart_axes(chart)
    height = WIDTH if chart.square else HEIGHT
    names = f"{identifier}t {identifier}d"
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{names}">',
        f'<title id="{identifier}t">{escape(chart.title)}</title>',
        f'<desc id="{identifier}d">{escape(describe(chart))}</desc>',
        *([_map_edge(chart, axes)] if chart.square else _frame(chart, axes)),
    ]
    if chart.diagonal:
        low, high = max(axes.x.low, axes.y.low), min(axes.x.high, axes.y.high)
        start, end = (_position((axes.x(value), axes.y(value))) for value in (low, high))
        parts.append(f'<path class="guide" d="M{start}L{end}"/>')
    for series, color in zip(chart.series, color_classes(chart.series), strict=True):
        shapes = "".join(_SHAPES[series.kind](chart, series, axes))
        parts.append(f'<g class="{kind_classes(series)} {color}">{shapes}</g>')
    return "".join([*parts, "</svg>"])


def color_classes(series: Sequence[Series]) -> list[str]:
    """The CSS class of each series' color."""
    return [f"c{index}" if index >= 0 else "grey" for index in palette_indices(series)]


def kind_classes(series: Series) -> str:
    """The CSS classes of how a series is drawn."""
    return f"{series.kind}{' dashed' * series.dashed}{' hollow' * series.hollow}"


def describe(chart: Chart) -> str:
    """A text description of the chart, for screen readers."""
    return " ".join(_in_words(series, chart) for series in chart.series) or "Nothing was recorded."


def _in_words(series: Series, chart: Chart) -> str:
    name = series.name or chart.title
    shown = [point for point in series.points if all(map(math.isfinite, point))]
    if not shown:
        return f"{name}: nothing."
    if series.kind != "line":
        return f"{name}: {len(shown)} {'points' if series.kind == 'dots' else series.kind}."
    (x0, y0), (x1, y1) = shown[0], shown[-1]
    values = [y for _, y in shown]
    ends = f"from {short(y0)} at {chart.x or 'x'} {short(x0)} to {short(y1)} at {short(x1)}"
    extremes = f"lowest {short(min(values))}, highest {short(max(values))}"
    return f"{name}: {len(shown)} points {ends}, {extremes}."


# -- axes -------------------------------------------------------------------


def _map_edge(chart: Chart, axes: Axes) -> str:
    if chart.disk:
        x, y, radius = axes.x(0), axes.y(0), axes.x(1) - axes.x(0)
        return f'<circle class="edge" cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}"/>'
    low, side = MAP_MARGINS[0] / 2, WIDTH - MAP_MARGINS[0]
    return f'<rect class="edge" x="{low}" y="{low}" width="{side}" height="{side}" rx="4"/>'


def _frame(chart: Chart, axes: Axes) -> Iterator[str]:
    """Grid lines, tick labels and axis labels."""
    left, right = axes.x.start, axes.x.end
    if not axes.rows:
        for value in axes.y.ticks():
            y = _number(axes.y(value))
            yield f'<path class="grid" d="M{_number(left)} {y}H{_number(right)}"/>'
            yield _text(left - 6, y, short(value), ' dy=".32em" text-anchor="end"')
    if axes.right:
        for value in axes.right.ticks():
            yield _text(right + 6, _number(axes.right(value)), short(value), ' dy=".32em"')
    for value in axes.x.ticks():
        yield _text(axes.x(value), BASE + 15, short(value), ' text-anchor="middle"')
    yield f'<path class="base" d="M{_number(left)} {BASE}H{_number(right)}"/>'
    yield _text(0, 9, chart.y)
    yield _text(WIDTH, 9, chart.right, ' text-anchor="end"')
    yield _text(right, HEIGHT - 3, chart.x, ' text-anchor="end"')


def _text(x: float, y: float | str, text: str, attributes: str = "") -> str:
    return f'<text x="{_number(x)}" y="{y}"{attributes}>{escape(text)}</text>'


# -- series -----------------------------------------------------------------


def _line(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    yield from _paths(chart, series, axes)
    for stroke in axes.strokes(series):
        if len(stroke) == 1:  # a path of one point would be invisible
            yield _circle(stroke[0], 2.5)
    if len(series.points) <= TOOLTIPS:
        label = f"{series.name or chart.title}, {chart.x or 'x'}"
        notes = series.notes or [f"{label} {short(x)}: {short(y)}" for x, y in series.points]
        for place, note in zip(axes.places(series), notes, strict=True):
            if place:
                yield _circle(place, 6, note, ' class="hit"')


def _paths(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    strokes = ("L".join(map(_position, stroke)) for stroke in axes.strokes(series))
    yield f'<path d="{"".join(f"M{stroke}" for stroke in strokes)}"/>'


def _dots(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    for place, size, note in zip_longest(axes.places(series), series.sizes, series.notes):
        if place:
            yield _circle(place, size or 3, note)


def _points(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    """Strokes of length zero with round ends: a few bytes each."""
    strokes = [f"M{_position(place)}h0" for place in axes.places(series) if place]
    yield f'<path d="{"".join(strokes)}"/>'


def _bars(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    for bar, note in zip_longest(axes.bars(series), series.notes):
        if bar:
            (left, top), (right, floor) = bar
            place = f'x="{_number(left)}" y="{_number(top)}"'
            size = f'width="{_number(right - left)}" height="{_number(floor - top)}"'
            yield f"<rect {place} {size}>{_tooltip(note)}</rect>"


def _intervals(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    ends = axes.intervals(series)
    lines = [f"M{_position(start)}H{_number(end)}" for start, (end, _) in ends]
    yield f'<path d="{"".join(lines)}"/>'


_SHAPES = {
    "line": _line,
    "paths": _paths,
    "dots": _dots,
    "points": _points,
    "bars": _bars,
    "intervals": _intervals,
}


def _circle(place: Point, radius: float, note: str | None = "", attributes: str = "") -> str:
    x, y = map(_number, place)
    circle = f'<circle{attributes} cx="{x}" cy="{y}" r="{_number(radius)}">'
    return f"{circle}{_tooltip(note)}</circle>"


def _tooltip(note: str | None) -> str:
    return f"<title>{escape(note)}</title>" if note else ""


def _position(place: Point) -> str:
    return f"{_number(place[0])} {_number(place[1])}"


def _number(value: float) -> str:
    """A coordinate to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")
