"""Codes and latents in the plane, on the Poincare disk where the manifold has one, with the usage of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from numpy.typing import NDArray
from torch import Tensor

from vq.models.autoencoder import VQModel
from vq.models.bottlenecks.hierarchical import HierarchicalBottleneck
from vq_report.plots.style import COLORS, GRID, INK, MUTED, dress, figure, save
from vqcore.codebook.usage import codes_used, perplexity
from vqcore.interfaces.dataset import Split
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import CodeAssignment

SAMPLES = 256
LATENTS = 2000
BOOKS = 4


@torch.no_grad()
def save_codebook(path: Path, model: VQModel, split: Split, device: torch.device) -> None:
    """Draw the first codebooks of a model, or of each of its levels, with the latents of held-out samples.

    A model without codes has its latents drawn alone. More than two dimensions are projected on the two principal axes
    of codes and latents. On a disk the distance from the centre stays true, so only the angle is a projection.
    """
    was_training = model.training
    model.eval()
    batch = next(split.batches([torch.arange(min(SAMPLES, len(split)))], device))
    found = model.bottleneck.inspect(model.backbone.encode(batch))
    model.train(was_training)
    shown = _first_books(model, found.assignments)
    drawing = figure(9.5 if shown else 4.75, 4.4 * max(len(shown), 1))
    if not shown:
        _draw_plane(
            drawing.subplots(), model.bottleneck.manifold, found.z_q.flatten(0, -2), None, ""
        )
    rows = drawing.subplots(len(shown), 2, squeeze=False) if shown else []
    for (plane, bars), (which, manifold, use) in zip(rows, shown, strict=True):
        _draw_plane(plane, manifold, use.z[use.mask], use, which)
        _draw_usage(bars, use.counts)
    save(drawing, path)


def _first_books(
    model: VQModel, assignments: Sequence[CodeAssignment]
) -> list[tuple[str, Manifold, CodeAssignment]]:
    """The codebooks drawn, each with what tells it from the others: of several levels the first of each."""
    if isinstance(model.bottleneck, HierarchicalBottleneck):
        manifolds = [level.manifold for level in model.bottleneck.levels]
        firsts = assignments[:: max(len(assignments) // len(manifolds), 1)]
        return [
            (f"level {n}: ", *pair)
            for n, pair in enumerate(zip(manifolds, firsts, strict=False), 1)
        ][:BOOKS]
    which = [
        f"codebook {n} of {len(assignments)}: " if len(assignments) > 1 else ""
        for n in range(1, len(assignments) + 1)
    ]
    return [
        (name, model.bottleneck.manifold, use) for name, use in zip(which, assignments, strict=True)
    ][:BOOKS]


def _draw_plane(
    axes: Axes, manifold: Manifold, latents: Tensor, use: CodeAssignment | None, which: str
) -> None:
    """Latents (N, d), tangent vectors, with the codes of ``use`` where there are any."""
    latents = latents[:LATENTS].double()
    codes = latents[:0] if use is None else _codes(manifold, use)
    flat = project(torch.cat([codes, latents]))
    on_disk = manifold.disk(flat)
    points = (flat if on_disk is None else on_disk).cpu().numpy()
    axes.scatter(
        *points[len(codes) :].T, s=5, color=COLORS[1], alpha=0.25, linewidths=0, label="latents"
    )
    if use is not None:
        _draw_codes(axes, points[: len(codes)], use)
    kind = type(manifold).__name__.lower()
    width = latents.shape[1]
    disk, projected = " (disk)" * (on_disk is not None), ", projected" * (width > 2)
    dress(axes, f"{which}{kind}{disk}, {width} dimension{'s' * (width > 1)}{projected}")
    axes.set_aspect("equal", adjustable="box" if on_disk is not None else "datalim")
    if on_disk is not None:
        axes.add_patch(Circle((0, 0), 1, fill=False, color=INK, linewidth=1))
        axes.set(xlim=(-1.04, 1.04), ylim=(-1.04, 1.04))
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.06), ncols=3)


def _codes(manifold: Manifold, use: CodeAssignment) -> Tensor:
    """Tangent vectors (n, d) of all codes, or of those in use where the codebook is implicit."""
    return (
        use.z_q.double().unique(dim=0)
        if use.codebook is None
        else manifold.logmap0(use.codebook.double())
    )


def _draw_codes(axes: Axes, points: NDArray[np.floating], use: CodeAssignment) -> None:
    counts = use.counts.cpu().numpy() if use.codebook is not None else np.ones(len(points))
    used, size = counts > 0, 18 + 130 * counts / max(counts.max(), 1)
    axes.scatter(
        *points[used].T,
        s=size[used],
        color=COLORS[0],
        alpha=0.8,
        edgecolors="white",
        label="codes, by usage",
    )
    if (~used).any():
        axes.scatter(
            *points[~used].T, s=22, facecolors="none", edgecolors=MUTED, label="unused codes"
        )


def project(u: Tensor) -> Tensor:
    """Tangent vectors (N, D) as (N, 2): along the two principal axes, with each one's length kept."""
    if u.shape[1] == 1:
        return torch.cat([u, torch.zeros_like(u)], 1)
    if u.shape[1] == 2:
        return u
    _, _, axes = torch.linalg.svd(u - u.mean(0), full_matrices=False)
    flat = u @ axes[:2].T
    return flat * (u.norm(dim=1, keepdim=True) / flat.norm(dim=1, keepdim=True).clamp(min=1e-12))


def _draw_usage(axes: Axes, counts: Tensor) -> None:
    share = (counts.double() / counts.sum().clamp(min=1)).sort(descending=True).values.cpu().numpy()
    axes.bar(np.arange(len(share)), share, width=1.0, color=COLORS[0])
    axes.axhline(1 / len(share), color=MUTED, linewidth=1, linestyle="--")
    axes.text(
        len(share) - 0.5,
        1 / len(share),
        " equal usage",
        ha="right",
        va="bottom",
        fontsize=8,
        color=MUTED,
    )
    title = f"usage: {int(codes_used(counts))} of {len(share)} codes, perplexity {float(perplexity(counts)):.1f}"
    dress(axes, title, "codes, most used first", "share of tokens")
    axes.grid(axis="x", color=GRID, linewidth=0)
