"""How the codes moved during training: t-SNE of the snapshots, or where they lie where that is a plane already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from vq.pipeline.history import Snapshot
from vq.pipeline.report.embedding import ITERATIONS, LEARNING_RATE, PERPLEXITY, ROWS, embed
from vq.pipeline.report.run import Absent, ReportedRun, each_run
from vq.pipeline.report.sections.reconstructions import spread
from vqcore.manifold import Manifold
from vqcore.report import Block, Chart, Film, Point, Section, Series

#: Moments that are shown.
MOMENTS = 10
LEAD = (
    "Each dot is a code, larger the more held-out tokens chose it; a line leads from where it was in the frame before."
)
TSNE = (
    f"t-SNE (perplexity {PERPLEXITY}, learning rate {LEARNING_RATE}, {ITERATIONS} iterations) of tangent vectors, "
    "fitted once over all frames: what is near stays near, but distances on the page are not to scale."
)


def codebook(runs: Sequence[ReportedRun]) -> Section:
    """A film of each codebook."""
    return Section("The codebook over training", each_run(runs, _films), LEAD)


def _films(run: ReportedRun) -> list[Block]:
    snapshots = [each for each in run.history if len(each.codes) == len(run.history[-1].codes)]
    if not snapshots:
        raise Absent("No codebook was recorded during training: it is implicit, or the run ended before an evaluation.")
    books = min(len(snapshots[-1].codes), run.books)
    moments = spread(snapshots, MOMENTS)
    return [_film(run, moments, place, books) for place in range(books)]


def _film(run: ReportedRun, moments: Sequence[Snapshot], place: int, books: int) -> Film:
    few = max(ROWS // (books * len(moments)), 8)
    taken = np.linspace(0, len(moments[0].codes[place]) - 1, min(len(moments[0].codes[place]), few)).astype(int)
    frames = [each.codes[place][taken].astype(np.float64) for each in moments]
    numbers = moments[0].chosen[place][taken]
    total, flat = len(moments[0].chosen[place]), frames[0].shape[1] <= 2
    manifold = run.trained.model.bottleneck.manifold if flat else None
    places = _on_the_map(frames, manifold) if flat else embed(frames)
    counts = [each.counts[place][numbers] if place < len(each.counts) else np.ones(len(numbers)) for each in moments]
    before = [None, *places[:-1]]
    dots = [_dots(now, then, count, numbers) for now, then, count in zip(places, before, counts, strict=True)]
    within, disk = _range(places), _is_disk(manifold)
    map_of = {"square": True, "disk": disk, "x_range": within, "y_range": within}
    charts = [Chart("The codebook", each, **map_of) for each in dots]
    several = f"Codebook {place + 1} of {len(moments[0].codes)}, " * (len(moments[0].codes) > 1)
    part = f"{len(taken):,} of {total:,} codes, " * (len(taken) < total)
    how = "Places" if flat else "t-SNE"
    labels = [f"{each.step:,}" for each in moments]
    return Film(f"{several}{part}{how} after step", list(zip(labels, charts, strict=True)), "" if flat else TSNE)


def _on_the_map(frames: Sequence[NDArray[np.floating]], manifold: Manifold) -> list[NDArray[np.floating]]:
    padded = [torch.from_numpy(np.pad(frame, ((0, 0), (0, 2 - frame.shape[1])))) for frame in frames]
    disks = [manifold.disk(frame) for frame in padded]
    return [(flat if disk is None else disk).detach().numpy() for flat, disk in zip(padded, disks, strict=True)]


def _is_disk(manifold: Manifold | None) -> bool:
    return manifold is not None and manifold.disk(torch.zeros(1, 2, dtype=torch.float64)) is not None


def _range(places: Sequence[NDArray[np.floating]]) -> Point:
    """Of both axes of every frame, so that they can be compared."""
    values = np.concatenate(places)
    room = 0.04 * (np.ptp(values) or 1)
    return float(values.min() - room), float(values.max() + room)


def _dots(
    here: NDArray[np.floating],
    before: NDArray[np.floating] | None,
    counts: NDArray[np.floating],
    numbers: NDArray[np.integer],
) -> list[Series]:
    """Codes that are used, codes that are not, and their ways from the frame before."""
    share = counts / max(counts.sum(), 1)
    sizes = 2.2 + 3.5 * np.sqrt(share / max(share.max(), 1e-12))
    series = [_way(before, here)] if before is not None else []
    for chosen, name, hollow, color in ((counts > 0, "used", False, 0), (counts == 0, "unused", True, -1)):
        if chosen.any():
            notes = [f"code {n}: {100 * s:.2g} %" for n, s in zip(numbers[chosen], share[chosen], strict=True)]
            dots = [(float(x), float(y)) for x, y in here[chosen]]
            series.append(Series(name, dots, "dots", color, hollow=hollow, sizes=sizes[chosen].tolist(), notes=notes))
    return series


def _way(before: NDArray[np.floating], here: NDArray[np.floating]) -> Series:
    gap = (float("nan"), float("nan"))
    ways = zip(before.tolist(), here.tolist(), strict=True)
    points: list[Point] = [place for start, end in ways for place in (tuple(start), tuple(end), gap)]
    return Series("", points, "ways", color=-1)
