"""Where codes start: drawn around the origin, drawn from latents, or the centroids of k-means on any manifold."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.distributed import sample_rows, sum_over_ranks
from vqcore.errors import SettingError
from vqcore.manifold import Manifold

KMEANS_STEPS = 10
#: Spread of codes drawn around the origin, per dimension, relative to 1/sqrt(D): latents have length about 1 then.
SPREAD = 1.0


def around_origin(kind: str, count: int, dim: int, manifold: Manifold, generator: torch.Generator) -> Tensor:
    """Points (count, A): a wrapped normal or, for ``uniform``, a uniform cube of tangent vectors of the same scale."""
    std = SPREAD / dim**0.5
    if kind == "uniform":
        cube = 2 * torch.rand(count, dim, generator=generator) - 1
        return manifold.expmap0(3**0.5 * std * cube)
    return manifold.random(count, dim, std=std, generator=generator)


def from_latents(
    kind: str, count: int, z: Tensor, mask: Tensor, manifold: Manifold, generator: torch.Generator
) -> Tensor | None:
    """Points (count, A) from tangent vectors z (N, D): rows drawn at random (``data``) or their k-means centroids.

    None where no rank has a token that counts: the start waits for one.

    Raises:
        SettingError: for ``kmeans`` with fewer latents than codes.
    """
    drawn, total = sample_rows(z, mask, count, generator)
    if int(total) == 0:
        return None
    if kind == "data":
        return manifold.expmap0(drawn)
    if int(total) < count:
        fix = "lower codebook_size, raise the batch size, or set init to data or normal"
        raise SettingError("codebook_size", count, f"at most the {int(total)} latents that k-means is given", fix)
    return kmeans(manifold.expmap0(z), mask, manifold.expmap0(drawn), manifold)


def kmeans(x: Tensor, mask: Tensor, centroids: Tensor, manifold: Manifold, steps: int = KMEANS_STEPS) -> Tensor:
    """Lloyd's iterations from ``centroids`` (K, A) over the points x (N, A) of all ranks; empty clusters stay put."""
    ambient = manifold.to_ambient(x) * mask.unsqueeze(1)
    for _ in range(steps):
        sums = ambient.new_zeros(centroids.shape[0], ambient.shape[1])
        counts = ambient.new_zeros(centroids.shape[0])
        nearest = manifold.nearest(x, centroids)
        sums.index_add_(0, nearest, ambient)
        counts.index_add_(0, nearest, mask.to(counts.dtype))
        sum_over_ranks(sums, counts)
        moved = manifold.from_ambient(sums / counts.clamp(min=1).unsqueeze(1))
        centroids = torch.where((counts > 0).unsqueeze(1), moved, centroids)
    return centroids
