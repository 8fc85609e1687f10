"""What a section of a report is made of: figures as data. ``vq report`` draws them, so that all look and read alike.

A plugin returns ``Section``s from the hook ``vq_report``. Texts are plain: nothing in them is read as markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Points that belong together: a curve, a cloud, or bars.

    Attributes:
        name: in the legend; a series without one is not in it.
        points: (x, y) of each; of ``spans`` the start and the end. A point that is not finite interrupts a line.
        kind: ``line``; ``ways``, a line that is faint and says nothing when it is pointed at; ``dots``; ``dust``, many
            small faint dots; ``bars``, from 0 up to y; ``spans``, from start to end, one below the other.
        color: place in the palette, from 0; None takes the next one free, -1 is a quiet grey.
        dashed: a broken line.
        hollow: dots that are circles.
        right: measured on a second axis, at the right.
        sizes: radius of each dot, pixels.
        notes: what each point says when it is pointed at.
    """

    name: str
    points: Sequence[Point]
    kind: Literal["line", "ways", "dots", "dust", "bars", "spans"] = "line"
    color: int | None = None
    dashed: bool = False
    hollow: bool = False
    right: bool = False
    sizes: Sequence[float] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """Series on common axes.

    Attributes:
        title: one line above it.
        series: drawn in this order, later ones on top.
        x, y, right: what the axes show, with the unit.
        log: the left axis is logarithmic; what is not positive is left out.
        zero: the left axis begins at 0, as it does where there are bars.
        square: as high as wide, both axes in the same units, and no ticks: a map.
        disk: the unit circle is drawn, as the edge of a map.
        diagonal: the line y = x is drawn.
        x_range, y_range: of the axes; what the points take up by default.
        note: a sentence below it.
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
class Picture:
    """A picture.

    Attributes:
        title: one line above it.
        data: the PNG, JPEG or WebP file.
        about: what it shows, for those who cannot see it.
        pixels: enlarged with hard edges, as small pictures should be.
        note: a sentence below it.
    """

    title: str
    data: bytes
    about: str
    pixels: bool = False
    note: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


class Strong(str):
    """A cell of a table that is picked out."""

    __slots__ = ()


@dataclass(frozen=True)
class Table:
    """Rows of short texts; the first cell of each is its heading.

    Attributes:
        head: of the columns.
        rows: each as long as ``head``; a cell that is ``Strong`` is picked out.
        folded: a line that stands in the table's place until it is chosen; the table is in view where it is empty.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: str = ""


@dataclass(frozen=True)
class Facts:
    """The few numbers that matter most.

    Attributes:
        items: of each its name, the value, and a few words on it (unit, of how many), which may be empty.
    """

    items: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Frames:
    """Frames in one place, the last one in view until another is chosen.

    Attributes:
        title: one line above it.
        frames: a short label, as of a step, and what is shown; 12 at most.
        note: a sentence below it.
    """

    title: str
    frames: Sequence[tuple[str, Chart | Picture]]
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """Small pictures, each with a line below it.

    Attributes:
        title: one line above it.
        items: the line, and the picture (its title is not shown).
        note: a sentence below it.
    """

    title: str
    items: Sequence[tuple[str, Picture]]
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Blocks under a heading of their own, as those of one of several runs."""

    title: str
    blocks: Sequence[Block]


Block = Chart | Picture | Text | Table | Facts | Frames | Gallery | Group


@dataclass(frozen=True)
class Section:
    """A part of the report with a heading.

    Attributes:
        title: the heading.
        blocks: what is in it.
        lead: a sentence below the heading that says how to read it.
    """

    title: str
    blocks: Sequence[Block]
    lead: str = ""
