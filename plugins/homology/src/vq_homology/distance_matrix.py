"""Distance matrices in which equal distances are equal to the bit, so that ties are stable."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold

#: Numbers in a tile of the matrix, and least rows: on a CPU 0.5 MB comes from mapped memory, and
#: fewer rows cost more calls than they save. An accelerator needs larger tiles.
TILE_CPU = 64 * 1024
TILE_DEVICE = 32 * 1024 * 1024
MIN_ROWS = 8
#: Squared distances below this share of a large one cancel in a matrix product and are recomputed
#: from differences; the others keep 11 digits.
CANCELLATION = 1e-4
#: Of the 53 bits of a distance, those rounded off; 12 digits remain.
ROUNDED_BITS = 12


def distance_matrix(points: Tensor, manifold: Manifold) -> Tensor:
    """All distances (n, n) between points (n, A): symmetric, and computed a tile of rows at a time.

    In float64 on a CPU this uses the manifold's own matrix product, where there is one, and
    recomputes the entries that cancel in it.
    """
    n, width = points.shape
    distances = points.new_empty(n, n)
    on_cpu = points.device.type == "cpu"
    is_double = points.dtype == torch.float64
    product = on_cpu and is_double and _has_product(manifold)
    tile_size = TILE_CPU if on_cpu else TILE_DEVICE
    rows = max(MIN_ROWS, tile_size // max(1, n if product else n * width))
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        some, others = points[start:stop], points[start:]
        if product:
            tile = _distances_by_product(some, others, manifold)
        else:
            tile = manifold.pairwise_dist(some, others)
        if is_double:
            _round(tile)
        corner = tile[:, : stop - start]
        corner.copy_(torch.maximum(corner, corner.T))  # a product is not symmetric to the bit
        distances[start:stop, start:] = tile
        distances[stop:, start:stop] = tile[:, stop - start :].T
    return distances


def _has_product(manifold: Manifold) -> bool:
    """Whether the manifold overrides the default, which holds all coordinate differences."""
    return type(manifold).pairwise_squared_dist is not Manifold.pairwise_squared_dist


def _distances_by_product(x: Tensor, y: Tensor, manifold: Manifold) -> Tensor:
    """Distances (N, M) of x (N, A) to y (M, A), which begins with x."""
    squared = manifold.pairwise_squared_dist(x, y)
    # By the triangle inequality, any point's farthest is at least half the diameter away.
    near = CANCELLATION * squared[0].max()
    for pairs in (squared <= near).nonzero().split(max(1, TILE_CPU // max(1, x.shape[1]))):
        i, j = pairs.unbind(1)
        squared[i, j] = manifold.squared_dist(x.index_select(0, i), y.index_select(0, j))
    return squared.clamp_(min=0).sqrt_()


def _round(distances: Tensor) -> None:
    """Round off the last bits of float64 distances, in place, so that ties are exact again."""
    bits = distances.view(torch.int64)
    bits.add_(1 << (ROUNDED_BITS - 1)).bitwise_and_(-(1 << ROUNDED_BITS))
