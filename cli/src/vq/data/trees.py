"""Nodes of a full binary tree as vectors of bits: data whose true geometry is known (Hyperbolic VQ-VAE, table 3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vq.data.splits import ArraySplit
from vq.data.tree import levels_of, tree_distance
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import DataSource


class Trees(DataSource):
    """A full binary tree of n = 2^depth - 1 nodes in heap order; sample i is node i's row of ``tree_bits``.

    The training samples are noisy copies of all nodes in turn. The test split is the n clean nodes, in heap order:
    not data held out from training, but the set on which the paper scores an embedding. A sample's class is its node's
    level.

    Args:
        depth: levels of the tree.
        noise: probability that a bit of a training sample is flipped.
        samples: size of the training split, at least n.
    """

    value_range = (0.0, 1.0)
    likelihood = "bernoulli"

    def __init__(self, *, depth: int = 8, noise: float = 0.1, samples: int = 8160) -> None:
        self.depth, self.noise, self.samples = depth, noise, samples
        self.nodes = 2**depth - 1
        if samples < self.nodes:
            raise SettingError(
                "samples", samples, f"{self.nodes} (the nodes of a tree of depth {depth}) or more"
            )
        self.shape = (self.nodes,)
        self.classes = [f"level {level}" for level in range(depth)]

    def split(self, name: Literal["train", "test"]) -> ArraySplit:
        """Truth values (N, n), served as 0 and 1."""
        bits, levels = tree_bits(self.depth), levels_of(torch.arange(self.nodes), 2)
        if name == "test":
            return ArraySplit(bits, levels)
        nodes = torch.arange(self.samples) % self.nodes
        samples = bits[nodes]
        generator = torch.Generator().manual_seed(0)
        for row in (
            samples
        ):  # row by row: the random numbers of the whole set would take four times its memory
            row ^= torch.rand(self.nodes, generator=generator) < self.noise
        return ArraySplit(samples, levels[nodes])

    def tree_distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Edges on the way between nodes (rows of the test split), int64; shapes broadcast."""
        return tree_distance(a, b, 2)


def tree_bits(depth: int) -> Tensor:
    """Truth values (n, n): bit j of node i says that j is i or an ancestor of i.

    The Hamming distance of two rows is the distance of their nodes in the tree.
    """
    nodes = 2**depth - 1
    bits = torch.eye(nodes, dtype=torch.bool)
    for node in range(1, nodes):
        bits[node] |= bits[(node - 1) // 2]
    return bits
