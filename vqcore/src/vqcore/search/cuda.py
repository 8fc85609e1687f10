"""The search on an accelerator: tiles of rows, each against every code."""

from __future__ import annotations

import torch
from torch import Tensor

#: Scores held at a time: larger pieces than on a CPU keep an accelerator busy.
TILE_SCORES = 32 * 1024 * 1024


def find(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Tiles of rows, each against every code."""
    n, k = query.shape[0], weight.shape[0]
    rows = max(1, min(n, TILE_SCORES // k))
    scores = query.new_empty(rows, k)
    indices = query.new_empty(n, dtype=torch.int64)
    for start in range(0, n, rows):
        part = query[start : start + rows]
        out = torch.addmm(bias, part, weight.T, out=scores[: part.shape[0]])
        torch.argmin(out, dim=1, out=indices[start : start + rows])
    return indices
