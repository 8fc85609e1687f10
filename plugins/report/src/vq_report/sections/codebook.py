"""How the codes moved during training: t-SNE of the snapshots, or their positions in a plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vq.runs.history import Snapshot
from vq_report.embedding import ITERATIONS, LEARNING_RATE, MAX_ROWS, PERPLEXITY, embed
from vq_report.encoded_split import manifold_of
from vq_report.reported_run import ReportedRun, Unavailable
from vq_report.sections.codebook_map import Array, code_dots
from vq_report.sections.reconstructions import spread
from vqcore.plugin.report_section import Block, Chart, Frames, Point, Series

#: Snapshots that are shown, at most.
MAX_SNAPSHOTS = 10
LEAD = "Each dot is a code; a line leads from its position in the frame before."
SIZES = "The larger a dot, the more held-out tokens use its code. "
TSNE = (
    f"t-SNE (perplexity {PERPLEXITY}, learning rate {LEARNING_RATE}, {ITERATIONS} iterations) of "
    "tangent vectors, fitted once to all frames: neighbours stay neighbours, but distances are not "
    "to scale."
)


def blocks(run: ReportedRun) -> list[Block]:
    """The frames of each codebook."""
    snapshots = alike(run.history)
    if not snapshots:
        reason = "there is no table of codes, or the run ended before an evaluation"
        raise Unavailable(f"No codebook was recorded during training: {reason}.")
    codebooks = min(len(snapshots[-1].codes), run.max_codebooks)
    shown = spread(snapshots, MAX_SNAPSHOTS)
    most = max(MAX_ROWS // (codebooks * len(shown)), 8)
    return [_frames(run, shown, number, most) for number in range(codebooks)]


def alike(history: Sequence[Snapshot]) -> list[Snapshot]:
    """The sound snapshots, with the shapes that most have."""
    sound = [each for each in history if _is_sound(each)]
    shapes = [[array.shape for array in (*each.codes, *each.counts)] for each in sound]
    most = max(shapes, key=shapes.count, default=[])
    return [each for each, shape in zip(sound, shapes, strict=True) if shape == most]


def _is_sound(snapshot: Snapshot) -> bool:
    """Whether codes are finite, and the counts hold those that were chosen."""
    finite = all(np.isfinite(codes).all() for codes in snapshot.codes)
    counted = zip(snapshot.chosen, snapshot.counts, strict=False)
    held = all(((chosen >= 0) & (chosen < len(counts))).all() for chosen, counts in counted)
    return finite and held


def _frames(run: ReportedRun, snapshots: Sequence[Snapshot], number: int, most: int) -> Frames:
    """One codebook; of more than ``most`` codes, an even choice."""
    recorded, total = snapshots[0].chosen[number], len(snapshots[0].codes)
    taken = np.linspace(0, len(recorded) - 1, min(len(recorded), most)).astype(int)
    codes = [each.codes[number][taken].astype(np.float64) for each in snapshots]
    numbers = recorded[taken]
    in_plane = codes[0].shape[1] <= 2
    positions, disk = _in_plane(run, number, total, codes) if in_plane else (embed(codes), False)
    counted = all(number < len(each.counts) for each in snapshots)
    limits = _limits(positions)
    frames = []
    for place, snapshot in enumerate(snapshots):
        if counted:
            counts = snapshot.counts[number][numbers]
            series = code_dots(positions[place], counts, numbers, largest=3.5)
        else:
            notes = [f"code {each}" for each in numbers]
            series = [Series("codes", positions[place].tolist(), "dots", 0, notes=notes)]
        if place:
            series.insert(0, _paths(positions[place - 1], positions[place]))
        chart = Chart(
            "The codebook", series, square=True, disk=disk, x_range=limits, y_range=limits
        )
        frames.append((f"{snapshot.step:,}", chart))
    which = f"Codebook {number + 1} of {total}, " * (total > 1)
    part = f"{len(taken):,} of {len(recorded):,} codes, " * (len(taken) < len(recorded))
    title = f"{which}{part}{'Positions' if in_plane else 't-SNE'} after step"
    return Frames(title, frames, SIZES * counted + TSNE * (not in_plane))


def _in_plane(
    run: ReportedRun, number: int, total: int, codes: Sequence[Array]
) -> tuple[list[Array], bool]:
    """Positions of codes of one or two dimensions, and whether they lie on a disk."""
    manifold = manifold_of(run.trained.model, number, total)
    planes = [torch.from_numpy(np.pad(each, ((0, 0), (0, 2 - each.shape[1])))) for each in codes]
    disks = [disk for plane in planes if (disk := manifold.disk(plane)) is not None]
    return [each.numpy() for each in disks or planes], bool(disks)


def _limits(positions: Sequence[Array]) -> Point:
    """Limits of both axes of every frame, so that frames can be compared."""
    values = np.concatenate(positions)
    margin = 0.04 * (np.ptp(values) or 1)
    return float(values.min() - margin), float(values.max() + margin)


def _paths(before: Array, after: Array) -> Series:
    gaps = np.full_like(before, np.nan)
    points = np.stack([before, after, gaps], 1).reshape(-1, 2)
    return Series("", [(x, y) for x, y in points.tolist()], "paths", color=-1)
