"""Held-out samples beside their reconstructions, over training: the pictures in samples/."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from vq_report.render import FRAMES
from vq_report.reported_run import Absent, ReportedRun, each_run
from vqcore.plugin.report_section import Block, Frames, Picture, Section

#: Pixels across beyond which a picture is made smaller, and bytes beyond which it is packed with loss.
WIDEST, HEAVY = 1024, 150_000
LEAD = "Pairs of a held-out sample (left, or the row above) and what the model makes of it."


def reconstructions(runs: Sequence[ReportedRun]) -> Section:
    """A film of each run."""
    return Section("Reconstructions over training", each_run(runs, _film), LEAD)


def _film(run: ReportedRun) -> list[Block]:
    found = sorted(run.folder.samples.glob("step-[0-9]*.png"))
    steps = {path: int(path.stem.removeprefix("step-")) for path in spread(found, FRAMES)}
    pictures = {
        step: read(path, f"samples and reconstructions after step {step}")
        for path, step in steps.items()
    }
    frames = [(f"{step:,}", picture) for step, picture in pictures.items() if picture]
    if not frames:
        raise Absent("No picture of reconstructions was saved.")
    return [Frames("After step", frames)]


def spread(items: Sequence, most: int) -> list:
    """At most so many of them, the first and the last among these."""
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]


def read(path: Path, about: str) -> Picture | None:
    """A picture file, made lighter where it is large; None where it cannot be read."""
    try:
        with Image.open(path) as image:
            image.load()
            data = path.read_bytes()
            if image.width > WIDEST or len(data) > HEAVY:
                data = _lighter(image)
    except (OSError, SyntaxError, ValueError):  # what Pillow raises on files that are damaged
        return None
    return Picture(path.stem.capitalize(), data, about)


def _lighter(image: Image.Image) -> bytes:
    image = image.convert("RGB")
    image.thumbnail((WIDEST, 4 * WIDEST))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=82)
    return buffer.getvalue()
