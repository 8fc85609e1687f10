"""Nearest-code search by distances of any form: tiled, never N x K at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from vqcore.numerics.execution import is_exporting
from vqcore.numerics.stable import without_autocast
from vqcore.search import cpu
from vqcore.search.affine import full_precision

#: Distances that a tile holds: on a CPU 1 MB in float32, which stays in the cache, elsewhere 64 MB.
TILE_CPU = 256 * 1024
TILE_DEVICE = 16 * 1024 * 1024
#: Those of a tile of a compiled graph, which has every tile in it.
TILE_COMPILED = 64 * 1024 * 1024
#: Coordinates of pairs that a strip holds, four tiles.
STRIP = 4

#: From points (N, A) to their squared distances (N, K) from given codes.
Distances = Callable[[Tensor], Tensor]


def search(x: Tensor, codes: Tensor, distances_from: Callable[[Tensor], Distances]) -> Tensor:
    """argmin_k of the distances of points x (N, A) from codes (K, A), (N,) int64.

    The lowest index wins a tie. Extra memory is O(N + tile). Half precision is raised to float32,
    and autocast and TF32 are off. A compiled graph has tiles of its own, without a graph break; an
    exported one holds all distances, N x K at once.

    Args:
        distances_from: codes -> a function from some of the points to their distances (n, K) from
            the codes, as ``Manifold.squared_dist_from``. Each may be off by the same number.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    x, codes = x.detach().to(wide), codes.detach().to(wide)
    kind, traced = x.device.type, torch.compiler.is_compiling()
    with torch.no_grad(), without_autocast(kind), nullcontext() if traced else full_precision(kind):
        distances = distances_from(codes)
        if is_exporting():
            return distances(x).argmin(1)
        rows = max(1, _tile(kind) // codes.shape[0])
        parts = (x,) if x.shape[0] <= rows else x.split(rows)
        return torch.cat([_first_least(distances(part)) for part in parts])


def in_strips(pairwise: Callable[[Tensor, Tensor], Tensor], codes: Tensor) -> Distances:
    """Distances by a function of all pairs that holds their coordinates, N x K x A numbers.

    It gets as many of the codes at a time as keep these near the size of a tile.
    """

    def distances(x: Tensor) -> Tensor:
        numbers = STRIP * _tile(x.device.type)
        if is_exporting() or x.shape[0] * codes.numel() <= numbers:
            return pairwise(x, codes)
        strip = max(1, numbers // (x.shape[0] * codes.shape[1]))
        return torch.cat([pairwise(x, part) for part in codes.split(strip)], 1)

    return distances


def _tile(kind: str) -> int:
    if torch.compiler.is_compiling():
        return TILE_COMPILED
    return TILE_CPU if kind == "cpu" else TILE_DEVICE


def _first_least(distances: Tensor) -> Tensor:
    """Place (n,) of the first least number in each row (n, K), which may overwrite them."""
    if torch.compiler.is_compiling() or distances.device.type != "cpu":
        return distances.argmin(1)
    return cpu.least(distances.contiguous(), distances.new_tensor(cpu.PLACES))[1].long()
