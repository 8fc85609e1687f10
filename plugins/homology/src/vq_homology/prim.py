"""Prim's algorithm on a GPU, in one Triton kernel that the host does not wait for."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

#: Points that a warp holds, and the most warps.
WARP_POINTS, MAX_WARPS = 256, 16
LARGEST = tl.constexpr(2**63 - 1)


def find(order: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Edges and weights as ``spanning_tree.find`` defines them, of float64 (n, n) on a GPU."""
    n = len(order)
    edges = order.new_empty(2, n, dtype=torch.int64)
    weights = order.new_empty(2, n)
    size = triton.next_power_of_2(n)
    warps = min(max(size // WARP_POINTS, 1), MAX_WARPS)
    with torch.cuda.device_of(order):  # Triton launches on the current device
        _prim[(1,)](order.contiguous(), kept, edges, weights, n, SIZE=size, num_warps=warps)
    return edges, weights


@triton.jit(do_not_specialize=["n"])
def _prim(ORDER, KEPT, EDGES, WEIGHTS, n, SIZE: tl.constexpr):
    own = tl.arange(0, SIZE)
    there = own < n
    kept = tl.load(KEPT + own, mask=there, other=0) != 0
    first = tl.min(tl.where(kept, own, SIZE))
    root = tl.where(first < SIZE, first, 0)
    waiting = kept & (own != root)
    overflown = waiting & (own < 0)
    nearest = tl.full((SIZE,), LARGEST, tl.int64)
    parent = tl.zeros((SIZE,), tl.int32) + root
    point = root
    for _ in range(1, n):
        length = tl.load(ORDER + point.to(tl.int64) * n + own, mask=waiting, other=0.0)
        overflown = overflown | (waiting & ~(length < float("inf")))
        # The bits of floats from 0 on are in their order; the last ones make room for the point.
        key = (length.to(tl.int64, bitcast=True) & -SIZE) | own
        closer = waiting & (key < nearest)
        nearest = tl.where(closer, key, nearest)
        parent = tl.where(closer, point, parent)
        least = tl.min(tl.where(waiting, nearest, LARGEST))
        point = (least & (SIZE - 1)).to(tl.int32)
        waiting = waiting & (own != point)
    hanging = kept & (own != root) & (tl.max(overflown.to(tl.int32)) == 0)
    tl.store(EDGES + own, tl.where(hanging, parent, root).to(tl.int64), mask=there)
    tl.store(EDGES + n + own, tl.where(hanging, own, root).to(tl.int64), mask=there)
    count = tl.sum(hanging.to(tl.float64))
    tl.store(WEIGHTS + own, (hanging | (own == root)) / (count + 1), mask=there)
    tl.store(WEIGHTS + n + own, hanging / tl.maximum(count, 1), mask=there)
