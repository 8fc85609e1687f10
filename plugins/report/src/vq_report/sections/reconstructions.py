"""Held-out samples and their reconstructions over training: the images in samples/."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from vq.files import read_image
from vq_report.page.render import MAX_FRAMES
from vq_report.reported_run import ReportedRun, Unavailable
from vqcore.plugin.report_section import Block, Chart, Frames, Image

T = TypeVar("T")

LEAD = "Pairs of a held-out sample (left, or the row above) and its reconstruction."


def blocks(run: ReportedRun) -> list[Block]:
    """The frames of a run."""
    frames: list[tuple[str, Chart | Image]] = []
    for path in spread(sorted(run.folder.samples.glob("step-[0-9]*.png")), MAX_FRAMES):
        if data := read_image(path):
            step = f"{int(path.stem.removeprefix('step-')):,}"
            frames.append((step, Image("", data, f"samples and reconstructions after step {step}")))
    if not frames:
        raise Unavailable("No image of reconstructions was saved.")
    return [Frames("After step", frames)]


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many items, evenly spread, with the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(number * (len(items) - 1) / (most - 1))] for number in range(most)]
