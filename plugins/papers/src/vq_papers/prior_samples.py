"""Samples of a run from a prior over its codes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import vq
from vq_papers.measures import evaluated
from vq_papers.one_run import OWN

if TYPE_CHECKING:
    from vq_papers.results import Results

#: Samples of a run, and their file in its folder.
COUNT, FILE = 40, "samples.png"
#: Passes of a prior over fewer samples than this; over more, as many as ``vq prior`` takes.
FEW, EPOCHS = 10_000, 20


def measured(run: vq.TrainedRun) -> Mapping[str, float]:
    """The numbers of ``vq evaluate``, and of a prior over the codes that knows the class.

    ``prior_bits`` and ``unigram_bits`` are for a code, held out; samples go to ``FILE``.
    """
    few = len(run.source.split("train")) < FEW
    trained = vq.prior(run, classes=True, overwrite=True, epochs=EPOCHS if few else None)
    vq.sample(run, COUNT).save(run.folder.path / OWN / FILE)
    bits = {"prior_bits": "bits_per_token", "unigram_bits": "unigram_bits_per_token"}
    return {**evaluated(run), **{name: trained.metrics[key] for name, key in bits.items()}}


def figure(results: Results, folder: Path) -> None:
    """``samples.png``: those of the first seed, a row of the table below the other."""
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    rows = [row for row in results.rows if row.runs]
    if not rows:
        return
    drawn = Figure(figsize=(8, 4.2 * len(rows)), layout="constrained")
    for axes, row in zip(drawn.subplots(len(rows), squeeze=False).flat, rows, strict=True):
        axes.imshow(imread(folder / row.runs[0].folder / OWN / FILE))
        axes.set_title(row.label)
        axes.axis("off")
    drawn.savefig(folder / FILE, dpi=100)
