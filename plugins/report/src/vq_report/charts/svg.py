"""Charts as SVG: sharp at every size, and colored by the page's style sheet, light or dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import zip_longest

from vq_report.charts.axes import HEIGHT, MAP_MARGINS, MARGINS, WIDTH, Axes, chart_axes
from vq_report.charts.palette import palette_indices
from vq_report.charts.scale import short
from vqcore.plugin.report_section import Chart, Series

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
        start, end = (f"{_number(axes.x(v))} {_number(axes.y(v))}" for v in (low, high))
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


def _positions(series: Series, axes: Axes) -> list[str | None]:
    """``x y`` of each point; None if the axes cannot show it."""
    x, y = axes.x, axes.y
    if series.right and axes.right:
        y = axes.right
    return [
        f"{_number(x(a))} {_number(y(b))}" if x.shows(a) and y.shows(b) else None
        for a, b in series.points
    ]


def _line(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    yield from _paths(chart, series, axes)
    positions = _positions(series, axes)
    padded = [None, *positions, None]
    for before, here, after in zip(padded, positions, padded[2:], strict=False):
        if here and not (before or after):  # a path of one point would be invisible
            yield _circle(here, 2.5)
    if len(positions) <= TOOLTIPS:
        label = f"{series.name or chart.title}, {chart.x or 'x'}"
        notes = series.notes or [f"{label} {short(x)}: {short(y)}" for x, y in series.points]
        for position, note in zip(positions, notes, strict=True):
            if position:
                yield _circle(position, 6, note, ' class="hit"')


def _paths(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    """A path with a gap where a point has no position."""
    path, pen = "", "M"
    for position in _positions(series, axes):
        path += pen + position if position else ""
        pen = "L" if position else "M"
    yield f'<path d="{path}"/>'


def _dots(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    positions = _positions(series, axes)
    for position, size, note in zip_longest(positions, series.sizes, series.notes):
        if position:
            yield _circle(position, size or 3, note)


def _points(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    """Strokes of length zero with round ends: a few bytes each."""
    strokes = [f"M{position}h0" for position in _positions(series, axes) if position]
    yield f'<path d="{"".join(strokes)}"/>'


def _bars(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    pitch = (axes.x.end - axes.x.start) / max(len(series.points), 1)
    floor, width = axes.y(max(axes.y.low, 0.0)), max(pitch * 0.82, pitch - 2)
    for (x, y), note in zip_longest(series.points, series.notes):
        if axes.x.shows(x) and axes.y.shows(y):
            left, top = _number(axes.x(x) - width / 2), _number(axes.y(y))
            size = f'width="{_number(width)}" height="{_number(floor - axes.y(y))}"'
            yield f'<rect x="{left}" y="{top}" {size}>{_tooltip(note)}</rect>'


def _intervals(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    x, y = axes.x, axes.y
    lines = [
        f"M{_number(x(start))} {_number(y(row))}H{_number(x(end))}"
        for row, (start, end) in enumerate(series.points)
        if x.shows(start) and x.shows(end)
    ]
    yield f'<path d="{"".join(lines)}"/>'


_SHAPES = {
    "line": _line,
    "paths": _paths,
    "dots": _dots,
    "points": _points,
    "bars": _bars,
    "intervals": _intervals,
}


def _circle(position: str, radius: float, note: str | None = "", attributes: str = "") -> str:
    x, y = position.split()
    circle = f'<circle{attributes} cx="{x}" cy="{y}" r="{_number(radius)}">'
    return f"{circle}{_tooltip(note)}</circle>"


def _tooltip(note: str | None) -> str:
    return f"<title>{escape(note)}</title>" if note else ""


def _number(value: float) -> str:
    """A coordinate to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")
