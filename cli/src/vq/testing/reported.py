"""A run as ``vq_report`` sees it, and whether what that answers can be drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vq.config.resolved_config import ResolvedConfig
from vq.runs.folder import RunFolder
from vqcore.plugin.report_section import (
    Block,
    Chart,
    Facts,
    Frames,
    Gallery,
    Group,
    Image,
    Section,
    Table,
    Text,
)
from vqcore.testing.rules import expect

#: How files of the formats that a report shows begin.
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")
#: The most that the reader can choose from.
_MOST_FRAMES = 12


@dataclass(frozen=True)
class Reported:
    """The ``run`` of ``vq_report``: what a folder holds."""

    folder: RunFolder
    config: ResolvedConfig | None
    metrics: Sequence[Mapping[str, Any]]
    step: int

    @classmethod
    def of(cls, path: Path, config: ResolvedConfig | None) -> Reported:
        """A run folder with its config, None where a plugin that it needs is missing."""
        folder = RunFolder(path)
        metrics = folder.read_metrics()
        return cls(folder, config, metrics, metrics[-1]["step"] if metrics else 0)


def check_sections(answer: Any) -> None:
    """Check what ``vq_report`` answers.

    Raises:
        AssertionError: for what is no section, or has a block that cannot be drawn.
    """
    expect(answer is None or isinstance(answer, Iterable), f"vq_report returned {answer!r}")
    for section in answer or ():
        right = isinstance(section, Section)
        expect(right, f"a {type(section).__name__}, expected a Section")
        expect(_is_text(section.title), f"a section is called {section.title!r}")
        expect(isinstance(section.lead, str), f"section {section.title!r}: lead {section.lead!r}")
        for block in section.blocks:
            _check_block(block, f"section {section.title!r}")


def _check_block(block: Any, where: str) -> None:
    expect(isinstance(block, Block), f"{where}: a {type(block).__name__} is no block")
    if isinstance(block, Text):
        expect(isinstance(block.text, str), f"{where}: a paragraph {block.text!r}")
        return
    if isinstance(block, Facts):
        for item in block.items:
            fits = len(item) == 3 and all(isinstance(each, str) for each in item)
            expect(fits, f"{where}: facts are name, value and detail, not {item!r}")
        return
    if isinstance(block, Table):
        for row in (block.head, *block.rows):
            fits = len(row) == len(block.head) and all(isinstance(cell, str) for cell in row)
            expect(fits, f"{where}: a row {row!r} below {block.head!r}")
        return
    where = f"{where}, {block.title!r}"
    expect(_is_text(block.title), f"{where}: a block without a title")
    if isinstance(block, Image):
        expect(block.data.startswith(_IMAGES), f"{where}: no PNG, JPEG or WebP file")
    elif isinstance(block, Chart):
        for series in block.series:
            fits = all(len(point) == 2 for point in series.points)
            expect(fits, f"{where}: points of {series.name!r} are no pairs")
    elif isinstance(block, Frames):
        expect(1 <= len(block.frames) <= _MOST_FRAMES, f"{where}: {len(block.frames)} frames")
        for _, content in block.frames:
            _check_block(content, where)
    elif isinstance(block, Gallery):
        for _, image in block.items:
            expect(isinstance(image, Image), f"{where}: a {type(image).__name__} in a gallery")
            expect(image.data.startswith(_IMAGES), f"{where}: no PNG, JPEG or WebP file")
    elif isinstance(block, Group):
        for inner in block.blocks:
            _check_block(inner, where)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
