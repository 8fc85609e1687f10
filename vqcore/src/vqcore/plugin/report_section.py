"""The parts of a report, as data: plugins describe them, ``vq report`` draws them.

A plugin returns ``Section``s from the hook ``vq_report``. Texts are plain: markup in them is shown
as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]
SeriesKind = Literal["line", "paths", "dots", "points", "bars", "intervals"]


@dataclass(frozen=True)
class Series:
    """Data points that belong together: a curve, a scatter plot, or bars.

    Attributes:
        name: shown in the legend; a series without a name is left out of it.
        points: (x, y) of each point; for ``intervals``, (start, end). A point that is not finite
            interrupts a line.
        kind: ``line``; ``paths``, faint lines without tooltips; ``dots``; ``points``, many small
            faint dots; ``bars`` from 0 up to y; ``intervals`` from start to end, one per row.
        color: index into the palette; None takes the next free color, -1 is grey.
        dashed: draw a dashed line.
        hollow: draw dots as circles.
        right: use the second y axis, on the right.
        sizes: radius of each dot in pixels.
        notes: tooltip of each point.
    """

    name: str
    points: Sequence[Point]
    kind: SeriesKind = "line"
    color: int | None = None
    dashed: bool = False
    hollow: bool = False
    right: bool = False
    sizes: Sequence[float] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """Series on shared axes.

    Attributes:
        title: one line above the chart.
        series: drawn in this order, later ones on top.
        x, y, right: axis labels, with the unit.
        log: logarithmic left axis; values that are not positive are left out.
        zero: start the left axis at 0; bars always do.
        square: a map: square, equal units on both axes, no ticks.
        disk: draw the unit circle as the edge of a map.
        diagonal: draw the line y = x.
        x_range, y_range: axis limits; by default they fit the data.
        note: a sentence below the chart.
    """

    title: str
    series: Sequence[Series]
    x: str = ""
    y: str = ""
    right: str = ""
    log: bool = False
    zero: bool = False
    square: bool = False
    disk: bool = False
    diagonal: bool = False
    x_range: Point | None = None
    y_range: Point | None = None
    note: str = ""


@dataclass(frozen=True)
class Image:
    """An image file.

    Attributes:
        title: one line above the image.
        data: the content of a PNG, JPEG or WebP file; the page compresses a large one.
        alt: alternative text.
        pixels: enlarge with hard edges, for images of few pixels.
        note: a sentence below the image.
    """

    title: str
    data: bytes
    alt: str
    pixels: bool = False
    note: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


class Strong(str):
    """A highlighted table cell."""

    __slots__ = ()


@dataclass(frozen=True)
class Table:
    """Rows of short texts; the first cell of each row is its heading.

    Attributes:
        head: column headings.
        rows: each as long as ``head``; cells of type ``Strong`` are highlighted.
        folded: label that unfolds the table; an empty label shows the table at once.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: str = ""


@dataclass(frozen=True)
class Facts:
    """The few numbers that matter most, in large type.

    Each item is a name, a value and a detail (unit or total), which may be empty.
    """

    items: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Frames:
    """Charts or images in one place; the reader chooses which is visible, at first the last one.

    Attributes:
        title: one line above the frames.
        frames: a short label, such as the step, and the content of each; at most 12.
        note: a sentence below the frames.
    """

    title: str
    frames: Sequence[tuple[str, Chart | Image]]
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """Small images with captions.

    Attributes:
        title: one line above the gallery.
        items: caption and image of each; titles of these images are not shown.
        note: a sentence below the title.
    """

    title: str
    items: Sequence[tuple[str, Image]]
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Blocks under their own heading, such as those of one of several runs."""

    title: str
    blocks: Sequence[Block]


Block = Chart | Image | Text | Table | Facts | Frames | Gallery | Group


@dataclass(frozen=True)
class Section:
    """A section of the report; ``lead``, a sentence below its title, explains how to read it."""

    title: str
    blocks: Sequence[Block]
    lead: str = ""
