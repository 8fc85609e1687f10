"""Renders sections, which are data, as one self-contained HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import cache
from itertools import count, groupby
from pathlib import Path
from typing import Any

import PIL.Image
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vq.files import MAX_PIXELS, opened_image
from vq_report.charts import svg
from vqcore.errors import printable
from vqcore.plugin.report_section import Block, Chart, Frames, Group, Image, Section, Strong, Text

HERE = Path(__file__).parent
#: Frames in one place, at most.
MAX_FRAMES = 12
FORMATS = ("PNG", "JPEG", "WEBP")
#: Wider images, in pixels, are made smaller; larger files, in bytes, are compressed with loss.
MAX_WIDTH, MAX_BYTES = 1024, 150_000


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = count()
    environment.filters |= {
        "svg": lambda chart: svg.draw(chart, f"g{next(numbers)}"),
        "kind": _kind,
        "data_uri": _data_uri,
        "rows": _rows,
        "legend": _legend,
        "only_text": _only_text,
    }
    environment.tests["strong"] = lambda cell: isinstance(cell, Strong)
    environment.globals["unique_name"] = lambda: f"f{next(numbers)}"
    return environment


class Page:
    """A report, rendered section by section: one that cannot be rendered leaves out itself."""

    def __init__(self) -> None:
        self._macros: Any = _environment().get_template("blocks.html.j2").module
        self._sections: list[tuple[str, str]] = []

    def add(self, section: Section) -> None:
        """Append a section.

        Raises:
            TypeError: if a block is not of a type that a report can show.
            ValueError: if an image is not a PNG, JPEG or WebP file or too large, or there are too
                many frames.
        """
        self._sections.append((section.title, self._macros.content(section)))

    def html(self, **variables: Any) -> str:
        """The whole page, with the template's ``variables`` title, subtitle, runs and footer."""
        style = (HERE / "style.css").read_text(encoding="utf-8")
        template = _environment().get_template("page.html.j2")
        text = template.render(
            sections=self._sections, style=style, max_frames=MAX_FRAMES, **variables
        )
        return printable(text, lines=True)


def _kind(block: object) -> str:
    name = type(block).__name__
    if not isinstance(block, Block):
        expected = "a block of vqcore.plugin.report_section"
        raise TypeError(f"a report cannot show a {name}: expected {expected}")
    if isinstance(block, Frames) and not 0 < len(block.frames) <= MAX_FRAMES:
        expected = f"1 to {MAX_FRAMES} frames, found {len(block.frames)}"
        raise ValueError(f"frames {block.title!r}: expected {expected}")
    return name.lower()


def _data_uri(image: Image) -> str:
    data = image.data
    try:
        with opened_image(data, FORMATS) as opened:
            kind = str(opened.format).lower()
            if opened.width > MAX_WIDTH or len(data) > MAX_BYTES:
                data, kind = _compressed(opened), "webp"
    except Exception as error:
        expected = f"a PNG, JPEG or WebP file of at most {MAX_PIXELS:,} pixels"
        raise ValueError(f"image {image.title!r}: expected {expected}") from error
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _compressed(image: PIL.Image.Image) -> bytes:
    smaller = image.convert("RGB")
    smaller.thumbnail((MAX_WIDTH, 4 * MAX_WIDTH))
    buffer = io.BytesIO()
    smaller.save(buffer, "WEBP", quality=82)
    return buffer.getvalue()


def _rows(blocks: Sequence[Block]) -> list[tuple[str, list[Block]]]:
    """Runs of blocks with the CSS class of their grid; an empty class is a single column."""
    return [(css_class, list(row)) for css_class, row in groupby(blocks, key=_grid)]


def _grid(block: Block) -> str:
    _kind(block)  # a block of another type ends here
    content = block.frames[0][1] if isinstance(block, Frames) else block
    if isinstance(content, Chart) and not content.square:
        return "grid"
    return "broad" if isinstance(content, Chart | Group) else ""


def _only_text(blocks: Sequence[Block]) -> bool:
    """Whether there is nothing to see, only reasons why."""
    return all(
        _only_text(block.blocks) if isinstance(block, Group) else isinstance(block, Text)
        for block in blocks
    )


def _legend(chart: Chart) -> list[tuple[str, str, str]]:
    """The CSS class of kind and color, and the name, of each series that has a name."""
    colors = svg.color_classes(chart.series)
    named = zip(chart.series, colors, strict=True)
    return [(svg.kind_classes(each), color, each.name) for each, color in named if each.name]
