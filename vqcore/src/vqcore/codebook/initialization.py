"""Where codes start: drawn at the scale of the latents, drawn from latents, or the centroids of k-means.

Everything here runs without waiting for the device and is the same on every rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.distributed import from_first_rank, sample_rows, sum_over_ranks
from vqcore.interfaces.manifold import Manifold
from vqcore.numerics import counter_rng

KMEANS_STEPS = 10
#: Length of the noise on a code that copies a latent, relative to it: equal codes could never part again.
NOISE = 0.01


def around_origin(
    kind: str, count: int, dim: int, manifold: Manifold, key: int, std: float | Tensor, like: Tensor
) -> Tensor:
    """Points (count, A) of tangent vectors, normal or uniform in a cube, of standard deviation ``std`` a coordinate."""
    if kind == "uniform":
        unit = 3**0.5 * (2 * counter_rng.uniform(key, count, dim, device=like.device) - 1)
    else:
        unit = counter_rng.normal(key, count, dim, device=like.device)
    return manifold.expmap0(std * unit.to(like.dtype))


def from_latents(
    kind: str,
    count: int,
    z: Tensor,
    mask: Tensor,
    manifold: Manifold,
    key: int,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Starting points (count, A) from the tangent vectors z (N, D) that ``mask`` (N,) keeps, over all ranks.

    Args:
        kind: ``normal`` and ``uniform`` have the latents' root mean square around the origin; ``wrapped-normal`` is a
            normal at the latents' centroid with their spread around it, carried there by the manifold's translation
            (Nagano et al. 2019, arXiv:1902.02992, algorithm 1); ``data`` draws latents; ``kmeans`` their centroids.
        count: number of codes.
        z, mask, manifold: see above.
        key: of the draws; the first rank's counts.
        scale: standard deviation per coordinate of the first three, instead of the latents'.

    Returns:
        The points, and whether any rank had a token (a scalar bool): without one the points mean nothing.
    """
    if kind in ("data", "kmeans"):
        drawn, total = sample_rows(z, mask, count, key)
        # With fewer latents than codes some are drawn again: noise tells the copies apart.
        drawn = torch.where(total < count, blurred(drawn, key + 1), drawn)
        points = manifold.expmap0(drawn)
        return (points if kind == "data" else kmeans(z, mask, points, manifold, key)), total > 0
    if kind == "wrapped-normal":
        centre = _centroid(z, mask, manifold)
        z = manifold.logmap0(manifold.translate(manifold.negate(centre), manifold.expmap0(z)))
    spread, total = _root_mean_square(z, mask)
    points = around_origin(
        kind, count, z.shape[1], manifold, key, spread if scale is None else scale, z
    )
    if kind == "wrapped-normal":
        points = manifold.project(manifold.translate(centre, points))
    return from_first_rank(points), total > 0


def kmeans(
    z: Tensor,
    mask: Tensor,
    centroids: Tensor,
    manifold: Manifold,
    key: int,
    steps: int = KMEANS_STEPS,
) -> Tensor:
    """Lloyd's iterations from ``centroids`` (K, A) over the latents z (N, D) of all ranks.

    A cluster that is left empty goes on from a latent drawn at random, with a little noise, also after the last
    iteration: with fewer latents than codes every code still has a place of its own.
    """
    x = manifold.expmap0(z)
    ambient = torch.where(mask.unsqueeze(1), manifold.to_ambient(x), 0).double()
    for step in range(steps):
        sums = ambient.new_zeros(centroids.shape[0], ambient.shape[1])
        counts = ambient.new_zeros(centroids.shape[0])
        nearest = manifold.nearest(x, centroids)
        sums.index_add_(0, nearest, ambient)
        counts.index_add_(0, nearest, mask.to(counts.dtype))
        sum_over_ranks(sums, counts)
        moved = manifold.from_ambient(sums / counts.clamp(min=1).unsqueeze(1)).to(centroids.dtype)
        fresh_key = counter_rng.key_of(key, step)
        fresh = blurred(sample_rows(z, mask, centroids.shape[0], fresh_key)[0], fresh_key + 1)
        centroids = torch.where((counts > 0).unsqueeze(1), moved, manifold.expmap0(fresh))
    return centroids


def blurred(rows: Tensor, key: int, noise: float = NOISE) -> Tensor:
    """Tangent vectors (K, D) moved by normal noise of ``noise`` times the length of each, equal on every rank.

    A zero vector is moved as far as the others are on average, or by ``noise`` itself where all are zero.
    """
    unit = from_first_rank(counter_rng.normal(key, *rows.shape, device=rows.device).to(rows.dtype))
    length = rows.norm(dim=1, keepdim=True)
    mean = length.mean()
    typical = torch.where(mean > 0, mean, torch.ones_like(mean))
    return rows + noise / rows.shape[1] ** 0.5 * torch.where(length > 0, length, typical) * unit


def _root_mean_square(u: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Root mean square of a coordinate of the kept vectors (N, D) over all ranks, and how many there are."""
    total, squares = mask.sum(), torch.where(mask.unsqueeze(1), u, 0).double().square().sum()
    sum_over_ranks(total, squares)
    return (squares / (total.clamp(min=1) * u.shape[1])).sqrt().to(u.dtype), total


def _centroid(z: Tensor, mask: Tensor, manifold: Manifold) -> Tensor:
    """The centroid (1, A) of the kept latents of all ranks."""
    ambient = torch.where(mask.unsqueeze(1), manifold.to_ambient(manifold.expmap0(z)), 0).double()
    total, mean = mask.sum(), ambient.sum(0, keepdim=True)
    sum_over_ranks(total, mean)
    return manifold.from_ambient(mean / total.clamp(min=1)).to(z.dtype)
