"""Charts as SVG: crisp at every size, and coloured by the page, so that they read in the dark too."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import count

from vq_report.scale import Scale, fit, short
from vqcore.plugin.report_section import Chart, Point, Series

WIDTH, HEIGHT = 360, 216
#: Space around the axes: left, right, top, bottom.
ROOM, MAP_ROOM = (44, 12, 20, 34), (8, 8, 8, 8)
SECOND_AXIS = 40
COLORS = 8
#: Points of a series that can be pointed at, at most: each takes some 100 bytes.
POINTED = 300


@dataclass(frozen=True)
class Axes:
    """The scales of a chart; ``right`` is that of its second axis."""

    x: Scale
    y: Scale
    right: Scale

    def place(self, series: Series, point: Point) -> str | None:
        """``x y`` in the drawing; None where an axis does not show it."""
        y = self.right if series.right else self.y
        if not (self.x.shows(point[0]) and y.shows(point[1])):
            return None
        return f"{_number(self.x(point[0]))} {_number(y(point[1]))}"


def draw(chart: Chart, identity: str) -> str:
    """A chart as an ``<svg>`` element; ``identity`` names its title and description, once in a page."""
    axes, height = _axes(chart), WIDTH if chart.square else HEIGHT
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{identity}t {identity}d">',
        f'<title id="{identity}t">{escape(chart.title)}</title>',
        f'<desc id="{identity}d">{escape(describe(chart))}</desc>',
        _outline(chart, axes) if chart.square else _frame(chart, axes),
    ]
    if chart.diagonal:
        low, high = max(axes.x.low, axes.y.low), min(axes.x.high, axes.y.high)
        ends = f"M{_number(axes.x(low))} {_number(axes.y(low))}L{_number(axes.x(high))} {_number(axes.y(high))}"
        parts.append(f'<path class="guide" d="{ends}"/>')
    for series, color in zip(chart.series, colors(chart.series), strict=True):
        shape = "".join(_SHAPES[series.kind](chart, series, axes))
        parts.append(f'<g class="{kind(series)} {color}">{shape}</g>')
    return "".join([*parts, "</svg>"])


def colors(series: Sequence[Series]) -> list[str]:
    """The class of each one's colour: its own, or the next one free."""
    fresh = count()
    places = [next(fresh) if each.color is None else each.color for each in series]
    return ["quiet" if place < 0 else f"c{place % COLORS}" for place in places]


def kind(series: Series) -> str:
    """The classes of how it is drawn."""
    return f"{series.kind}{' dashed' * series.dashed}{' hollow' * series.hollow}"


def describe(chart: Chart) -> str:
    """The chart in words."""
    return " ".join(_in_words(series, chart) for series in chart.series) or "Nothing was recorded."


def _in_words(series: Series, chart: Chart) -> str:
    name = series.name or chart.title
    seen = [point for point in series.points if all(map(math.isfinite, point))]
    if not seen:
        return f"{name}: nothing."
    if series.kind != "line":
        return (
            f"{name}: {len(seen)} {'points' if series.kind in ('dots', 'dust') else series.kind}."
        )
    (x0, y0), (x1, y1) = seen[0], seen[-1]
    values = [y for _, y in seen]
    ends = f"from {short(y0)} at {chart.x or 'x'} {short(x0)} to {short(y1)} at {short(x1)}"
    return f"{name}: {len(seen)} points {ends}, lowest {short(min(values))}, highest {short(max(values))}."


# -- axes -------------------------------------------------------------------


def _axes(chart: Chart) -> Axes:
    left, right, top, bottom = MAP_ROOM if chart.square else ROOM
    height = WIDTH if chart.square else HEIGHT
    if any(series.right for series in chart.series):
        right = SECOND_AXIS
    spans = [series for series in chart.series if series.kind == "spans"]
    across = [x for series in chart.series for x, _ in series.points] + [
        end for s in spans for _, end in s.points
    ]
    up = [y for s in chart.series if not s.right and s.kind != "spans" for _, y in s.points]
    x_range, y_range = _even(across, up, chart) if chart.square else (chart.x_range, chart.y_range)
    along = (left, WIDTH - right)
    zero = chart.zero or any(series.kind == "bars" for series in chart.series)
    x = Scale(*x_range, *along) if x_range else _tight(across, *along, zero=bool(spans))
    upright = (height - bottom, top)
    if spans:
        y = Scale(-0.5, max(1, *(len(s.points) for s in spans)) - 0.5, top, height - bottom)
    elif y_range:
        y = Scale(*y_range, *upright, log=chart.log)
    else:
        y = fit(up, *upright, log=chart.log, zero=zero)
    second = fit((y for s in chart.series if s.right for _, y in s.points), *upright, zero=True)
    return Axes(x, y, second)


def _tight(values: Sequence[float], start: float, end: float, *, zero: bool) -> Scale:
    """Without room at the ends, as befits steps."""
    known = [value for value in values if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    low = 0.0 if zero else low
    return Scale(low, high, start, end) if high > low else Scale(low - 0.5, low + 0.5, start, end)


def _even(across: Sequence[float], up: Sequence[float], chart: Chart) -> tuple[Point, Point]:
    """Ranges of one length for both axes of a map."""
    if chart.disk:
        return (-1.02, 1.02), (-1.02, 1.02)
    if chart.x_range and chart.y_range:
        return chart.x_range, chart.y_range
    x, y = (fit(values, 0, 1) for values in (across, up))
    half = max(x.high - x.low, y.high - y.low) / 2
    return tuple(((a.low + a.high) / 2 - half, (a.low + a.high) / 2 + half) for a in (x, y))


def _outline(chart: Chart, axes: Axes) -> str:
    if chart.disk:
        radius = axes.x(1) - axes.x(0)
        return f'<circle class="edge" cx="{_number(axes.x(0))}" cy="{_number(axes.y(0))}" r="{_number(radius)}"/>'
    low, high = MAP_ROOM[0] / 2, WIDTH - MAP_ROOM[0]
    return f'<rect class="edge" x="{low}" y="{low}" width="{high}" height="{high}" rx="4"/>'


def _frame(chart: Chart, axes: Axes) -> str:
    """Grid lines, numbers beside them, and what the axes show."""
    left, right, base, parts = axes.x.start, axes.x.end, HEIGHT - ROOM[3], []
    if not any(series.kind == "spans" for series in chart.series):
        for value in axes.y.ticks():
            y = _number(axes.y(value))
            parts.append(f'<path class="grid" d="M{_number(left)} {y}H{_number(right)}"/>')
            parts.append(
                f'<text x="{_number(left - 6)}" y="{y}" dy=".32em" text-anchor="end">{short(value)}</text>'
            )
    if any(series.right for series in chart.series):
        for value in axes.right.ticks():
            y = _number(axes.right(value))
            parts.append(f'<text x="{_number(right + 6)}" y="{y}" dy=".32em">{short(value)}</text>')
    for value in axes.x.ticks():
        parts.append(
            f'<text x="{_number(axes.x(value))}" y="{base + 15}" text-anchor="middle">{short(value)}</text>'
        )
    parts.append(f'<path class="base" d="M{_number(left)} {base}H{_number(right)}"/>')
    parts.append(f'<text class="unit" x="0" y="9">{escape(chart.y)}</text>')
    parts.append(
        f'<text class="unit" x="{WIDTH}" y="9" text-anchor="end">{escape(chart.right)}</text>'
    )
    parts.append(
        f'<text class="unit" x="{_number(right)}" y="{HEIGHT - 3}" text-anchor="end">{escape(chart.x)}</text>'
    )
    return "".join(parts)


# -- what is drawn ----------------------------------------------------------


def _line(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    yield from _ways(chart, series, axes)
    places = [axes.place(series, point) for point in series.points]
    around = [None, *places, None]
    lonely = [
        here
        for before, here, after in zip(around, places, around[2:], strict=False)
        if not (before or after)
    ]
    yield from (_circle(place, 2.5) for place in lonely if place)
    if len(places) <= POINTED:
        for number, (point, place) in enumerate(zip(series.points, places, strict=True)):
            if place:
                said = f"{series.name or chart.title}, {chart.x or 'x'} {short(point[0])}: {short(point[1])}"
                yield _circle(place, 6, _note(series, number) or said, "hit")


def _ways(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    """A path, with a gap where a point is not shown."""
    path, pen = [], "M"
    for place in (axes.place(series, point) for point in series.points):
        path += [pen + place] if place else []
        pen = "L" if place else "M"
    yield f'<path d="{"".join(path)}"/>'


def _dots(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    for number, point in enumerate(series.points):
        place = axes.place(series, point)
        if place:
            size = series.sizes[number] if number < len(series.sizes) else 3
            yield _circle(place, size, _note(series, number))


def _dust(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    """Strokes without length, their ends round: a few bytes each."""
    places = (axes.place(series, point) for point in series.points)
    yield f'<path d="{"".join(f"M{place}h0" for place in places if place)}"/>'


def _bars(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    pace = (axes.x.end - axes.x.start) / max(len(series.points), 1)
    floor, width = axes.y(max(axes.y.low, 0.0)), max(pace * 0.82, pace - 2)
    for number, (x, y) in enumerate(series.points):
        if axes.place(series, (x, y)):
            top, left = axes.y(y), axes.x(x) - width / 2
            note = escape(_note(series, number))
            shape = f'x="{_number(left)}" y="{_number(top)}" width="{_number(width)}" height="{_number(floor - top)}"'
            yield f"<rect {shape}>{f'<title>{note}</title>' if note else ''}</rect>"


def _spans(chart: Chart, series: Series, axes: Axes) -> Iterator[str]:
    rows = [
        (row, a, b)
        for row, (a, b) in enumerate(series.points)
        if axes.x.shows(a) and axes.x.shows(b)
    ]
    bars = [
        f"M{_number(axes.x(a))} {_number(axes.y(row))}H{_number(axes.x(b))}" for row, a, b in rows
    ]
    yield f'<path d="{"".join(bars)}"/>'


_SHAPES = {
    "line": _line,
    "ways": _ways,
    "dots": _dots,
    "dust": _dust,
    "bars": _bars,
    "spans": _spans,
}


def _note(series: Series, number: int) -> str:
    return series.notes[number] if number < len(series.notes) else ""


def _circle(place: str, radius: float, note: str = "", kind: str = "") -> str:
    x, y = place.split()
    title = f"<title>{escape(note)}</title>" if note else ""
    of_kind = f' class="{kind}"' if kind else ""
    return f'<circle{of_kind} cx="{x}" cy="{y}" r="{_number(radius)}">{title}</circle>'


def _number(value: float) -> str:
    """A place to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")
