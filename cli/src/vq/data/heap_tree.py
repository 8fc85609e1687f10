"""Full trees in heap order: 0 is the root, b i + 1 to b i + b are the children of node i."""

from __future__ import annotations

import torch
from torch import Tensor


def node_levels(nodes: Tensor, branching: int) -> Tensor:
    """Distance in edges of each node (int64, any shape) from the root."""
    level, above = torch.zeros_like(nodes), nodes
    while (above > 0).any():
        level = level + (above > 0)
        above = torch.where(above > 0, (above - 1) // branching, 0)
    return level


def tree_distance(a: Tensor, b: Tensor, branching: int) -> Tensor:
    """Distance in edges between the nodes of ``a`` and ``b``, int64; shapes broadcast."""
    a, b = torch.broadcast_tensors(a, b)
    steps = torch.zeros_like(a)
    while (apart := a != b).any():
        # The larger number is at least as deep, so one edge of the path leads to its parent.
        up_a, up_b = apart & (a > b), apart & (b > a)
        a = torch.where(up_a, (a - 1) // branching, a)
        b = torch.where(up_b, (b - 1) // branching, b)
        steps = steps + apart
    return steps
