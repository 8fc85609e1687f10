"""How the codes moved during training: t-SNE of the snapshots, or where they lie where that is a plane already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from vq.runs.history import Snapshot
from vq_report.embedding import ITERATIONS, LEARNING_RATE, PERPLEXITY, ROWS, embed
from vq_report.encoded_split import space_of
from vq_report.reported_run import Absent, ReportedRun, each_run
from vq_report.sections.reconstructions import spread
from vqcore.plugin.report_section import Block, Chart, Frames, Point, Section, Series

#: Moments that are shown.
MOMENTS = 10
LEAD = "Each dot is a code; a line leads from where it was in the frame before."
SIZES = "The larger a dot, the more held-out tokens chose its code. "
TSNE = (
    f"t-SNE (perplexity {PERPLEXITY}, learning rate {LEARNING_RATE}, {ITERATIONS} iterations) of tangent vectors, "
    "fitted once over all frames: what is near stays near, but distances on the page are not to scale."
)
Array = NDArray[np.floating]


def codebook(runs: Sequence[ReportedRun]) -> Section:
    """A film of each codebook."""
    return Section("The codebook over training", each_run(runs, _films), LEAD)


def _films(run: ReportedRun) -> list[Block]:
    snapshots = [each for each in run.history if len(each.codes) == len(run.history[-1].codes)]
    if not snapshots:
        why = "there is no table of codes, or the run ended before an evaluation"
        raise Absent(f"No codebook was recorded during training: {why}.")
    books = min(len(snapshots[-1].codes), run.books)
    moments = spread(snapshots, MOMENTS)
    return [
        _film(run, moments, place, max(ROWS // (books * len(moments)), 8)) for place in range(books)
    ]


def _film(run: ReportedRun, moments: Sequence[Snapshot], place: int, few: int) -> Frames:
    """One codebook; of more than a ``few`` codes an even choice."""
    chosen, of = moments[0].chosen[place], len(moments[0].codes)
    taken = np.linspace(0, len(chosen) - 1, min(len(chosen), few)).astype(int)
    frames = [each.codes[place][taken].astype(np.float64) for each in moments]
    counted = all(place < len(each.counts) for each in moments)
    counts = [each.counts[place][chosen[taken]] if counted else None for each in moments]
    flat = frames[0].shape[1] <= 2
    places, disk = _on_the_map(run, place, of, frames) if flat else (embed(frames), False)
    before = [None, *places[:-1]]
    dots = [_dots(*each, chosen[taken]) for each in zip(places, before, counts, strict=True)]
    map_of = {"square": True, "disk": disk, "x_range": _range(places), "y_range": _range(places)}
    shown = [
        (f"{each.step:,}", Chart("The codebook", series, **map_of))
        for each, series in zip(moments, dots, strict=True)
    ]
    several = f"Codebook {place + 1} of {of}, " * (of > 1)
    part = f"{len(taken):,} of {len(chosen):,} codes, " * (len(taken) < len(chosen))
    title = f"{several}{part}{'Places' if flat else 't-SNE'} after step"
    return Frames(title, shown, SIZES * counted + TSNE * (not flat))


def _on_the_map(
    run: ReportedRun, place: int, of: int, frames: Sequence[Array]
) -> tuple[list[Array], bool]:
    """Codes of one or two dimensions where they lie, and whether that is a disk."""
    space = space_of(run.trained, place, of)
    padded = [
        torch.from_numpy(np.pad(frame, ((0, 0), (0, 2 - frame.shape[1])))) for frame in frames
    ]
    disks = [space.disk(frame) for frame in padded]
    if disks[0] is None:
        return [frame.numpy() for frame in padded], False
    return [disk.numpy() for disk in disks], True


def _range(places: Sequence[Array]) -> Point:
    """Of both axes of every frame, so that they can be compared."""
    values = np.concatenate(places)
    room = 0.04 * (np.ptp(values) or 1)
    return float(values.min() - room), float(values.max() + room)


def _dots(
    here: Array, before: Array | None, counts: Array | None, numbers: NDArray[np.integer]
) -> list[Series]:
    """Codes that are used, codes that are not, and their ways from the frame before."""
    series = [_way(before, here)] if before is not None else []
    if counts is None:
        return [
            *series,
            Series("codes", here.tolist(), "dots", 0, notes=[f"code {n}" for n in numbers]),
        ]
    share = counts / max(counts.sum(), 1)
    sizes = 2.2 + 3.5 * np.sqrt(share / max(share.max(), 1e-12))
    for chosen, name, hollow, color in (
        (counts > 0, "used", False, 0),
        (counts == 0, "unused", True, -1),
    ):
        if chosen.any():
            notes = [
                f"code {n}: {100 * s:.2g} %"
                for n, s in zip(numbers[chosen], share[chosen], strict=True)
            ]
            dots, radii = here[chosen].tolist(), sizes[chosen].tolist()
            series.append(
                Series(name, dots, "dots", color, hollow=hollow, sizes=radii, notes=notes)
            )
    return series


def _way(before: Array, here: Array) -> Series:
    gap = (float("nan"), float("nan"))
    ways = zip(before.tolist(), here.tolist(), strict=True)
    points: list[Point] = [
        place for start, end in ways for place in (tuple(start), tuple(end), gap)
    ]
    return Series("", points, "ways", color=-1)
