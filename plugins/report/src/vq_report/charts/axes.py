"""The axes of a chart, for both renderers: which values they show, and where on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vq_report.charts.scale import Scale, fit
from vqcore.plugin.report_section import Chart, Point, Series

#: Pixels of a chart on the page; a map is as high as it is wide.
WIDTH, HEIGHT = 360, 216
#: Margins around the axes: left, right, top, bottom.
MARGINS, MAP_MARGINS = (44, 12, 20, 34), (8, 8, 8, 8)
SECOND_AXIS = 40


@dataclass(frozen=True)
class Axes:
    """The scales of a chart.

    Attributes:
        x, y: of most series.
        right: of the second y axis, if there is one.
        rows: whether y counts the rows of ``intervals``, and so has no ticks.
    """

    x: Scale
    y: Scale
    right: Scale | None
    rows: bool

    def places(self, series: Series) -> list[Point | None]:
        """Where each point is drawn; None if the axes cannot show it."""
        x, y = self.x, self.right if series.right and self.right else self.y
        return [(x(a), y(b)) if x.shows(a) and y.shows(b) else None for a, b in series.points]

    def strokes(self, series: Series) -> list[list[Point]]:
        """The lines through the points, with a gap where one has no place."""
        strokes: list[list[Point]] = [[]]
        for place in self.places(series):
            if place:
                strokes[-1].append(place)
            elif strokes[-1]:
                strokes.append([])
        return [stroke for stroke in strokes if stroke]

    def bars(self, series: Series) -> list[tuple[Point, Point] | None]:
        """The upper left and the lower right corner of each bar."""
        pitch = (self.x.end - self.x.start) / max(len(series.points), 1)
        floor, half = self.y(max(self.y.low, 0.0)), max(pitch * 0.82, pitch - 2) / 2
        return [
            ((place[0] - half, place[1]), (place[0] + half, floor)) if place else None
            for place in self.places(series)
        ]

    def intervals(self, series: Series) -> list[tuple[Point, Point]]:
        """The two ends of each interval that the axes can show, one below the other."""
        x, y = self.x, self.y
        return [
            ((x(start), y(row)), (x(end), y(row)))
            for row, (start, end) in enumerate(series.points)
            if x.shows(start) and x.shows(end)
        ]


def chart_axes(chart: Chart) -> Axes:
    """The axes of a chart, which fit its data or are as it says."""
    left, right, top, bottom = MAP_MARGINS if chart.square else MARGINS
    second = [y for series in chart.series if series.right for _, y in series.points]
    has_second = any(series.right for series in chart.series)
    across = (left, WIDTH - (SECOND_AXIS if has_second else right))
    up = ((WIDTH if chart.square else HEIGHT) - bottom, top)
    intervals = [series.points for series in chart.series if series.kind == "intervals"]
    xs = [x for series in chart.series for x, _ in series.points]
    xs += [end for points in intervals for _, end in points]
    ys = [
        y
        for series in chart.series
        if not series.right and series.kind != "intervals"
        for _, y in series.points
    ]
    x_range, y_range = chart.x_range, chart.y_range
    if chart.square:
        x_range, y_range = _map_ranges(xs, ys, chart)
    x = Scale(*x_range, *across) if x_range else _tight(xs, *across, zero=bool(intervals))
    zero = chart.zero or any(series.kind == "bars" for series in chart.series)
    y = fit(ys, *up, log=chart.log, zero=zero)
    if y_range:
        y = Scale(*y_range, *up, log=chart.log)
    if intervals:  # from the top down
        rows = max(1, *map(len, intervals))
        y = Scale(-0.5, rows - 0.5, top, up[0])
    return Axes(x, y, fit(second, *up, zero=True) if has_second else None, bool(intervals))


def _tight(values: Sequence[float], start: float, end: float, *, zero: bool) -> Scale:
    """A scale without margins, as suits steps."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = 0.0 if zero else min(finite), max(finite)
    margin = 0.0 if high > low else max(0.5, 1e-9 * abs(low))  # half a step; more of a huge one
    return Scale(low - margin, max(low, high) + margin, start, end)


def _map_ranges(xs: Sequence[float], ys: Sequence[float], chart: Chart) -> tuple[Point, Point]:
    """Ranges of equal length for both axes of a map."""
    if chart.disk:
        return (-1.02, 1.02), (-1.02, 1.02)
    if chart.x_range and chart.y_range:
        return chart.x_range, chart.y_range
    x, y = fit(xs, 0, 1), fit(ys, 0, 1)
    half = max(x.high - x.low, y.high - y.low) / 2
    middle_x, middle_y = (x.low + x.high) / 2, (y.low + y.high) / 2
    return (middle_x - half, middle_x + half), (middle_y - half, middle_y + half)
