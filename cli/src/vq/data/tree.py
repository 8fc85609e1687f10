"""Rooted trees, such as the hierarchy behind a data set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor


class Tree:
    """A rooted tree of n nodes. Node 0 is the root, and every parent comes before its children.

    Args:
        parents: the parent of each node, (n,) whole numbers; -1 for the root.

    Raises:
        ValueError: if a parent does not come before its child, or there is not one root.
    """

    def __init__(self, parents: Tensor | Sequence[int]) -> None:
        parents = torch.as_tensor(parents, dtype=torch.int64, device="cpu")
        if parents.dim() != 1 or not len(parents) or int(parents[0]) != -1:
            raise ValueError("parents: expected (n,) whole numbers, -1 for the root and first node")
        wrong = (parents < 0) | (parents >= torch.arange(len(parents)))
        if wrong[1:].any():
            child = 1 + int(wrong[1:].byte().argmax())
            expected = f"expected from 0 to {child - 1}"
            raise ValueError(f"parent of node {child} is {int(parents[child])}: {expected}")
        self.parents = parents

    @classmethod
    def full(cls, branching: int, height: int) -> Tree:
        """Every node above the deepest level has ``branching`` children, b i + 1 to b i + b.

        Args:
            branching: b.
            height: edges from the root to the deepest nodes.
        """
        nodes = sum(branching**level for level in range(height + 1))
        return cls((torch.arange(nodes) - 1).div(branching, rounding_mode="floor"))

    def __len__(self) -> int:
        """Number of nodes, n."""
        return len(self.parents)

    @cached_property
    def levels(self) -> Tensor:
        """Distance in edges of each node from the root, (n,) int64."""
        return self.distance(torch.arange(len(self)), torch.tensor(0))

    @cached_property
    def ancestors(self) -> Tensor:
        """Bool (n, n): whether node j is an ancestor of node i, at [i, j]. No node is its own."""
        found = torch.zeros(len(self), len(self), dtype=torch.bool)
        node, above = torch.arange(len(self)), self.parents
        while len(node := node[above >= 0]):
            above = above[above >= 0]
            found[node, above] = True
            above = self.parents[above]
        return found

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance in edges between the nodes of ``a`` and ``b``, int64; shapes broadcast."""
        a, b = torch.broadcast_tensors(a, b)
        steps = torch.zeros_like(a)
        while (apart := a != b).any():
            # The larger number is no ancestor of the other, so its path leads over its parent.
            up_a, up_b = apart & (a > b), apart & (b > a)
            a = torch.where(up_a, self.parents[a], a)
            b = torch.where(up_b, self.parents[b], b)
            steps = steps + apart
        return steps
