"""From sections, which are data, to one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from itertools import count, groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vq_report import svg
from vqcore.plugin.report_section import Block, Chart, Frames, Group, Picture, Section, Strong, Text

HERE = Path(__file__).parent
#: Frames of a film at most.
FRAMES = 12
#: How a picture file begins.
KINDS = {b"\x89PNG": "png", b"\xff\xd8": "jpeg", b"RIFF": "webp"}


def render(sections: Sequence[Section], **frame: Any) -> str:
    """The page: ``sections``, in the ``frame`` of title, subtitle, runs and footer that the template names.

    Raises:
        TypeError: if a block is none that a report knows.
        ValueError: if a picture is no PNG, JPEG or WebP file, or a film is too long.
    """
    numbers = count()
    environment = _environment()
    environment.filters["svg"] = lambda chart: svg.draw(chart, f"g{next(numbers)}")
    environment.globals["fresh"] = lambda: f"f{next(numbers)}"
    style = (HERE / "style.css").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        sections=sections, style=style, frames=FRAMES, **frame
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "kind": _kind,
        "data": _data,
        "rows": _rows,
        "legend": _legend,
        "silent": _silent,
    }
    environment.tests["strong"] = lambda cell: isinstance(cell, Strong)
    return environment


def _kind(block: Block) -> str:
    name = type(block).__name__.lower()
    if not isinstance(block, Block):
        raise TypeError(
            f"a report cannot show a {type(block).__name__}: expected a block of vqcore.plugin.report_section"
        )
    if isinstance(block, Frames) and not 0 < len(block.frames) <= FRAMES:
        raise ValueError(
            f"film {block.title!r}: expected 1 to {FRAMES} frames, found {len(block.frames)}"
        )
    return name


def _data(picture: Picture) -> str:
    """A picture as a data URI."""
    kind = next((kind for start, kind in KINDS.items() if picture.data.startswith(start)), None)
    if kind is None:
        raise ValueError(f"picture {picture.title!r}: expected a PNG, JPEG or WebP file")
    return f"data:image/{kind};base64,{base64.b64encode(picture.data).decode('ascii')}"


def _rows(blocks: Sequence[Block]) -> Iterator[tuple[str, list[Block]]]:
    """Neighbours that stand beside each other, with the class of their columns; empty for one below the other."""
    for side, row in groupby(blocks, key=lambda block: _side(block)):
        yield side, list(row)


def _silent(blocks: Sequence[Block]) -> bool:
    """Whether there is nothing to see, only words on why."""
    return all(
        _silent(block.blocks) if isinstance(block, Group) else isinstance(block, Text)
        for block in blocks
    )


def _side(block: Block) -> str:
    if isinstance(block, Group):
        return "broad"
    shown = block.frames[0][1] if _kind(block) == "frames" else block
    if isinstance(shown, Chart):
        return "broad" if shown.square else "grid"
    return ""


def _legend(chart: Chart) -> list[tuple[str, str, str]]:
    """Class, colour and name of each series that has one."""
    colors = svg.colors(chart.series)
    return [
        (svg.kind(each), color, each.name)
        for each, color in zip(chart.series, colors, strict=True)
        if each.name
    ]
