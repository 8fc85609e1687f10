"""A pen that draws shapes and text on a Pillow image, in pixels of the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import PIL.Image
from PIL import ImageColor, ImageDraw

from vq.data.font import font_for
from vq_report.charts.palette import MUTED
from vqcore.plugin.report_section import Point

#: Pixels of the image per pixel of the page.
ZOOM = 5
TEXT_SIZE = 10
#: Pixels of the page: of a dash, and of the gap after it.
DASH = (5, 3)
#: How far from the origin anything is drawn, at most: further out no image can show it.
FAR = 10_000


class Pen:
    """Draws on an image in pixels of the page, from an origin."""

    def __init__(self, image: PIL.Image.Image, x: float, y: float) -> None:
        self._draw = ImageDraw.Draw(image, "RGBA")  # blends what it draws
        self._x, self._y = x, y

    def line(
        self,
        points: Sequence[Point],
        color: str,
        width: float,
        *,
        opacity: float = 1.0,
        dashed: bool = False,
    ) -> None:
        """A line through points."""
        places = [self._place(point) for point in points]
        for stroke in _dashes(places) if dashed else [places]:
            self._draw.line(stroke, _rgba(color, opacity), round(width * ZOOM), joint="curve")

    def circle(
        self,
        center: Point,
        radius: float,
        color: str | None = None,
        *,
        opacity: float = 1.0,
        outline: str | None = None,
        width: float = 0.8,
    ) -> None:
        """A disk, a circle, or both."""
        fill = _rgba(color, opacity) if color else None
        x, y = self._place(center)
        r = radius * ZOOM
        box = (x - r, y - r, x + r, y + r)
        self._draw.ellipse(box, fill, outline, round(width * ZOOM))

    def dot(self, center: Point, radius: float, color: str, *, hollow: bool = False) -> None:
        """A dot with a white edge, or a circle."""
        if hollow:
            self.circle(center, radius, outline=color, width=1)
        else:
            self.circle(center, radius, color, opacity=0.8, outline="white")

    def box(self, start: Point, end: Point, color: str, *, opacity: float = 1.0) -> None:
        """A filled rectangle between two corners."""
        (x0, y0), (x1, y1) = self._place(start), self._place(end)
        corners = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        self._draw.rectangle(corners, _rgba(color, opacity))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = TEXT_SIZE,
        color: str = MUTED,
        anchor: str = "lm",
    ) -> None:
        """One line of plain text."""
        text = _plain(text)
        font = font_for(text, size * ZOOM)
        self._draw.text(self._place((x, y)), text, color, font, anchor)

    def _place(self, point: Point) -> Point:
        x, y = (max(-FAR, min(FAR, value)) for value in point)
        return (x + self._x) * ZOOM, (y + self._y) * ZOOM


def _dashes(points: Sequence[Point]) -> Iterator[list[Point]]:
    """The dashes of a line through points."""
    dash, left, drawn = [points[0]], float(DASH[0] * ZOOM), True
    for start, end in pairwise(points):
        length, done = math.dist(start, end), 0.0
        while length - done > left:
            done += left
            share = done / length
            here = (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))
            if drawn:
                yield [*dash, here]
            dash, drawn = [here], not drawn
            left = float(DASH[0 if drawn else 1] * ZOOM)
        left -= length - done
        dash.append(end)
    if drawn:
        yield dash


def _rgba(color: str, opacity: float) -> tuple[int, ...]:
    return *ImageColor.getrgb(color), round(255 * opacity)


def text_width(text: str) -> float:
    """How wide a text is, in pixels of the page."""
    text = _plain(text)
    return font_for(text, TEXT_SIZE * ZOOM).getlength(text) / ZOOM


def _plain(text: str) -> str:
    """The text on one line, with the minus sign of ASCII."""
    text = text.replace("\N{MINUS SIGN}", "-")
    return "".join(letter if letter.isprintable() else " " for letter in text)
