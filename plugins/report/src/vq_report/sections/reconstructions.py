"""Held-out samples and their reconstructions over training: the images in samples/."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import TypeVar

from vq.checkpoints.step_names import step_and_epoch
from vq.files import read_image
from vq_report.page.render import MAX_FRAMES
from vq_report.reported_run import ReportedRun, Unavailable
from vqcore.plugin.report_section import Block, Chart, Frames, Image

T = TypeVar("T")

LEAD = "Pairs of a held-out sample (left, or the row above) and its reconstruction."


def blocks(run: ReportedRun) -> list[Block]:
    """The frames of a run."""
    frames: list[tuple[str, Chart | Image]] = []
    found = ((step_and_epoch(path.stem), path) for path in run.folder.samples.glob("step-*.png"))
    saved = sorted(((*time, path) for time, path in found if time), key=itemgetter(0))
    for number, epoch, path in spread(saved, MAX_FRAMES):
        if data := read_image(path):
            step = f"{number:,}" + ("" if epoch is None else f" (epoch {epoch:,})")
            frames.append((step, Image("", data, f"samples and reconstructions after step {step}")))
    if not frames:
        raise Unavailable("No image of reconstructions was saved.")
    return [Frames("After step", frames)]


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many items, evenly spread, with the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(number * (len(items) - 1) / (most - 1))] for number in range(most)]
