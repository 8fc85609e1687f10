"""Nearest-code search on an accelerator: one fused kernel, or tiles of rows against every code."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from vqcore.numerics import kernel_trial

#: Scores that a tile holds, 256 MB in float32. Tiles that fit a GPU's cache have too few rows for
#: ``argmin``: on an H200 those of 32 MB take 15 to 50 % longer.
TILE_SCORES = 64 * 1024 * 1024
#: The widest query for the fused kernel.
WIDEST = 1024


def find(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Indices (N,) as ``affine.search`` defines them, of float32 or float64 tensors."""
    if query.is_cuda and query.dtype == torch.float32 and _fused_runs(query.device, query.shape[1]):
        from vqcore.search import fused

        return fused.find(query, weight, bias)
    return in_tiles(query, weight, bias)


def in_tiles(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``find`` by matrix products; tiles of rows keep the memory small."""
    n, k = query.shape[0], weight.shape[0]
    rows = max(1, min(n, TILE_SCORES // k))
    scores = query.new_empty(rows, k)
    indices = query.new_empty(n, dtype=torch.int64)
    for start in range(0, n, rows):
        part = query[start : start + rows]
        out = torch.addmm(bias, part, weight.T, out=scores[: part.shape[0]])
        torch.argmin(out, dim=1, out=indices[start : start + rows])
    return indices


@functools.cache
def _fused_runs(device: torch.device, width: int) -> bool:
    """Whether the fused kernel works for queries (N, width)."""

    def trial() -> bool:
        from vqcore.search import fused

        number = torch.arange(32, dtype=torch.float32, device=device)
        points = number.unsqueeze(1).expand(32, width)  # each is its own nearest one, exactly
        found = fused.find(points, -2 * points, points.square().sum(1))
        return torch.equal(found, torch.arange(32, device=device))

    failure = f"the fused search does not run on {device}, tiles replace it"
    return width <= WIDEST and kernel_trial.succeeds(trial, failure)
