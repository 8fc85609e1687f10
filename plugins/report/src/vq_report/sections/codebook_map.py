"""Codes among the latents of held-out samples, on the Poincare disk if the manifold has one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vq_report.encoded_split import CodebookStats, manifold_of
from vq_report.reported_run import ReportedRun
from vq_report.sections.usage import capitalize, encoded_codes
from vqcore.interfaces.manifold import Manifold
from vqcore.plugin.report_section import Block, Chart, Series

Array = NDArray[Any]
LEAD = (
    "Codes, larger the more they are used, among latents of held-out samples. More than two "
    "dimensions are projected onto the two principal axes. The projection keeps the distance from "
    "the center and changes only the angle."
)


def blocks(run: ReportedRun) -> list[Block]:
    """A map of each codebook."""
    encoded, model = encoded_codes(run), run.trained.model
    total = len(encoded.codebooks)
    return [
        codebook_map(prefix, stats, manifold_of(model, stats.number, total))
        for prefix, stats in encoded.first(run.max_codebooks)
    ]


def codebook_map(prefix: str, stats: CodebookStats, manifold: Manifold) -> Chart:
    """The codes of a codebook, used and unused, among some of its tokens."""
    finite = stats.codes.isfinite().all(1)
    positions, latents, title, disk = _flat(stats.codes[finite], stats.latents, manifold)
    largest = 4.5 * min((64 / max(len(positions), 1)) ** 0.25, 1)
    numbers, counts = finite.nonzero().flatten(), stats.counts[finite]
    series = [
        Series("latents", latents.tolist(), "points", 1),
        *code_dots(positions.numpy(), counts.numpy(), numbers.numpy(), largest),
    ]
    return Chart(capitalize(f"{prefix}{title}"), series, square=True, disk=disk)


def code_dots(positions: Array, counts: Array, numbers: Array, largest: float) -> list[Series]:
    """Dots of used codes, at most ``largest`` pixels larger than the least used, and of the others.

    Args:
        positions: of the codes, (n, 2).
        counts: how often each was used, (n,).
        numbers: of the codes in their codebook, (n,).
        largest: the radius that usage can add.
    """
    share = counts / max(counts.sum(), 1)
    radii = 2.2 + largest * np.sqrt(share / max(share.max(initial=0), 1e-12))
    series = []
    for used, name, color in ((True, "codes", 0), (False, "unused codes", -1)):
        chosen = (counts > 0) == used
        if chosen.any():
            pairs = zip(numbers[chosen], share[chosen], strict=True)
            notes = [f"code {number}: {100 * part:.2g} %" for number, part in pairs]
            points, sizes = positions[chosen].tolist(), radii[chosen].tolist()
            dots = Series(name, points, "dots", color, hollow=not used, sizes=sizes, notes=notes)
            series.append(dots)
    return series


def latent_map(latents: Tensor, manifold: Manifold) -> Chart:
    """Latents (N, D) of a model without codes, tangent vectors."""
    _, positions, title, disk = _flat(latents[:0], latents, manifold)
    series = [Series("latents", positions.tolist(), "points", 1)]
    return Chart(capitalize(title), series, square=True, disk=disk)


def _flat(codes: Tensor, latents: Tensor, manifold: Manifold) -> tuple[Tensor, Tensor, str, bool]:
    """Positions of codes and latents in the plane, its title, and whether it is a disk."""
    latents = latents[latents.isfinite().all(1)]
    tangents = torch.cat([codes, latents]).double()
    plane = project(tangents)
    disk = manifold.disk(plane)
    positions = plane if disk is None else disk
    kind, dim = type(manifold).__name__.lower(), tangents.shape[1]
    title = f"{kind}{'' if disk is None else ' disk'}, {dim} dimension{'s' * (dim > 1)}"
    title += ", projected" * (dim > 2)
    return positions[: len(codes)], positions[len(codes) :], title, disk is not None


def project(u: Tensor) -> Tensor:
    """Tangent vectors (N, D) as (N, 2): along the two principal axes, each length kept."""
    if u.shape[1] == 1:
        return torch.cat([u, torch.zeros_like(u)], 1)
    if u.shape[1] == 2:
        return u
    _, _, axes = torch.linalg.svd(u - u.mean(0), full_matrices=False)
    flat = u @ axes[:2].T
    return flat * (u.norm(dim=1, keepdim=True) / flat.norm(dim=1, keepdim=True).clamp(min=1e-12))
