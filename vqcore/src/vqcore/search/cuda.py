"""Nearest-code search on an accelerator: tiles of rows, each against every code."""

from __future__ import annotations

import torch
from torch import Tensor

#: Scores held at a time: an accelerator needs larger tiles than a CPU to stay busy.
TILE_SCORES = 32 * 1024 * 1024


def find(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Indices (N,) as ``affine.search`` defines them, of float32 or float64 tensors."""
    n, k = query.shape[0], weight.shape[0]
    rows = max(1, min(n, TILE_SCORES // k))
    scores = query.new_empty(rows, k)
    indices = query.new_empty(n, dtype=torch.int64)
    for start in range(0, n, rows):
        part = query[start : start + rows]
        out = torch.addmm(bias, part, weight.T, out=scores[: part.shape[0]])
        torch.argmin(out, dim=1, out=indices[start : start + rows])
    return indices
