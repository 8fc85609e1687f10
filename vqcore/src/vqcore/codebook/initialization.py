"""Initial codes: drawn at the scale of the latents, drawn from latents, or k-means centroids.

Nothing here waits for the device, and the result is the same on every rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.distributed import from_first_rank, sample_rows, sum_over_ranks
from vqcore.interfaces.manifold import Manifold
from vqcore.numerics import counter_rng
from vqcore.numerics.stable import in_widest

KMEANS_STEPS = 10
#: Noise on a code that copies a latent, relative to its length: equal codes would never separate.
NOISE = 0.01


def around_origin(
    kind: str, count: int, dim: int, manifold: Manifold, key: int, std: float | Tensor, like: Tensor
) -> Tensor:
    """Points (count, A) of random tangent vectors, of the type and on the device of ``like``.

    Coordinates are normal, or uniform for ``kind="uniform"``, with standard deviation ``std``.
    """
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
    """Initial points (count, A) from the latents of all ranks.

    Args:
        kind: ``normal`` and ``uniform`` are centred on the origin, with the latents' root mean
            square. ``wrapped-normal`` is a normal of the latents' spread, translated to their
            centroid (Nagano et al. 2019, arXiv:1902.02992, algorithm 1). ``data`` draws latents,
            ``kmeans`` takes their centroids.
        count: number of codes.
        z: tangent vectors (N, D) of this rank; ``mask`` (N,) marks the tokens that count.
        key: of the draws; rank 0's is used.
        scale: standard deviation per coordinate for the first three kinds, instead of the latents'.

    Returns:
        The points, and whether any rank had a token (a scalar bool tensor). If none had, the points
        mean nothing.
    """
    if kind in ("data", "kmeans"):
        drawn, total = sample_rows(z, mask, count, key)
        # With fewer latents than codes, some are drawn again: noise separates the copies.
        drawn = torch.where(total < count, blurred(drawn, key + 1), drawn)
        points = manifold.expmap0(drawn)
        return (points if kind == "data" else kmeans(z, mask, points, manifold, key)), total > 0
    if kind == "wrapped-normal":
        centre = _centroid(z, mask, manifold)
        z = manifold.logmap0(manifold.translate(manifold.negate(centre), manifold.expmap0(z)))
    spread, total = _root_mean_square(z, mask)
    std = spread if scale is None else scale
    points = around_origin(kind, count, z.shape[1], manifold, key, std, z)
    if kind == "wrapped-normal":
        points = manifold.project(manifold.translate(centre, points))
    return from_first_rank(points), total > 0


def kmeans(z: Tensor, mask: Tensor, centroids: Tensor, manifold: Manifold, key: int) -> Tensor:
    """Lloyd's iterations from ``centroids`` (K, A) over the latents z (N, D) of all ranks.

    An empty cluster continues from a random latent with a little noise, also after the last
    iteration, so that the codes differ even with fewer latents than codes.
    """
    x = manifold.expmap0(z)
    ambient = in_widest(torch.where(mask.unsqueeze(1), manifold.to_ambient(x), 0))
    for step in range(KMEANS_STEPS):
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


def blurred(rows: Tensor, key: counter_rng.Key, noise: float = NOISE) -> Tensor:
    """Tangent vectors (K, D) plus normal noise, the same on every rank.

    The noise has ``noise`` times the length of each vector; for a zero vector it has ``noise``
    times the mean length, or ``noise`` itself if all vectors are zero.
    """
    unit = from_first_rank(counter_rng.normal(key, *rows.shape, device=rows.device).to(rows.dtype))
    length = rows.norm(dim=1, keepdim=True)
    mean = length.mean()
    typical = torch.where(mean > 0, mean, torch.ones_like(mean))
    return rows + noise / rows.shape[1] ** 0.5 * torch.where(length > 0, length, typical) * unit


def _root_mean_square(u: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Root mean square coordinate of the masked vectors (N, D) of all ranks, and their number."""
    total = mask.sum()
    squares = in_widest(torch.where(mask.unsqueeze(1), u, 0)).square().sum()
    sum_over_ranks(total, squares)
    return (squares / (total.clamp(min=1) * u.shape[1])).sqrt().to(u.dtype), total


def _centroid(z: Tensor, mask: Tensor, manifold: Manifold) -> Tensor:
    """The centroid (1, A) of the masked latents of all ranks."""
    ambient = in_widest(torch.where(mask.unsqueeze(1), manifold.to_ambient(manifold.expmap0(z)), 0))
    total = mask.sum()
    mean = ambient.sum(0, keepdim=True)
    sum_over_ranks(total, mean)
    return manifold.from_ambient(mean / total.clamp(min=1)).to(z.dtype)
