"""Nearest-code search on an accelerator: one fused kernel, or tiles of rows against every code."""

from __future__ import annotations

import functools
import importlib.util
import logging

import torch
from torch import Tensor

#: Scores that a tile holds, 32 MB in float32: several tiles stay in the cache of a large GPU.
TILE_SCORES = 8 * 1024 * 1024

logger = logging.getLogger("vqcore")


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
    """Whether the fused kernel works for queries (N, width): a failure costs speed, not the run."""
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        from vqcore.search import fused

        if width > fused.WIDEST:
            return False
        number = torch.arange(32, dtype=torch.float32, device=device)
        points = number.unsqueeze(1).expand(32, width)  # each is its own nearest one, exactly
        found = fused.find(points, -2 * points, points.square().sum(1))
        if not torch.equal(found, torch.arange(32, device=device)):
            raise RuntimeError("it chooses wrong codes")
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        logger.warning("the fused search does not run on %s, tiles replace it: %s", device, cause)
        return False
    return True
