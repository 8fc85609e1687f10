"""The search for the nearest code, the only place that does it: tiled, in float32 or float64, never N x K at once."""

from __future__ import annotations

import torch
from torch import Tensor

#: Scores held at a time: 8 MB in float32 stays in a processor's cache; an accelerator wants larger pieces.
TILE_CPU = 2 * 1024 * 1024
TILE_DEVICE = 32 * 1024 * 1024


@torch.no_grad()
def search(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """argmin_k query . weight_k + bias_k for every row.

    Args:
        query: (N, S).
        weight: (K, S).
        bias: (K,).

    Returns:
        Indices (N,), int64. Extra memory is O(N + tile), whatever N x K is. Half precision is raised to float32
        and autocast is off: both, like TF32, choose wrong codes.
    """
    dtype = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False), _full_precision(query.device):
        return _tiled(query.to(dtype), weight.to(dtype), bias.to(dtype))


def _tiled(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    n, k = query.shape[0], weight.shape[0]
    tile = TILE_CPU if query.device.type == "cpu" else TILE_DEVICE
    rows = max(1, min(n, tile // k))
    scores = query.new_empty(rows, k)
    indices = torch.empty(n, dtype=torch.int64, device=query.device)
    for start in range(0, n, rows):
        part = query[start : start + rows]
        out = scores[: part.shape[0]]
        torch.addmm(bias, part, weight.T, out=out)
        torch.argmin(out, dim=1, out=indices[start : start + rows])
    return indices


class _full_precision:
    """Float32 products without TF32 on CUDA, whatever the process has set."""

    def __init__(self, device: torch.device) -> None:
        self.active = device.type == "cuda" and torch.get_float32_matmul_precision() != "highest"

    def __enter__(self) -> None:
        if self.active:
            self.saved = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")

    def __exit__(self, *exc: object) -> None:
        if self.active:
            torch.set_float32_matmul_precision(self.saved)
