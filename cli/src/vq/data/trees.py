"""Nodes of a full binary tree as bit vectors (Hyperbolic VQ-VAE, table 3): known geometry."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vq.data.tree import Tree
from vqcore.data.tensor_split import TensorSplit
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import DataSource
from vqcore.plugin.deprecation import deprecated

#: The probability with which the paper flips the bits of the nodes that it scores.
PAPER_NOISE = 0.1


class Trees(DataSource):
    """The n = 2^depth - 1 nodes of a full binary tree in heap order, as rows of ``tree_bits``.

    Training samples are noisy copies of all nodes in turn. The test split is the n clean nodes in
    heap order, on which the paper scores an embedding; it is not held out from training. The class
    of a sample is its node's level. For the options see ``TreesConfig``.
    """

    value_range = (0.0, 1.0)
    likelihood = "bernoulli"
    disjoint = False

    def __init__(self, *, depth: int = 8, noise: float = 0.1, samples: int = 8160) -> None:
        self.depth, self.noise, self.samples = depth, noise, samples
        self.tree = Tree.full(2, depth - 1)
        self.nodes = len(self.tree)
        if samples < self.nodes:
            expected = f"{self.nodes} (the nodes of a tree of depth {depth}) or more"
            raise SettingError("samples", samples, expected)
        self.shape = (self.nodes,)
        self.classes = [f"level {level}" for level in range(depth)]

    def split(self, name: Literal["train", "test"]) -> TensorSplit:
        """Bool (N, n), served as 0 and 1."""
        bits, levels = tree_bits(self.tree), self.tree.levels
        if name == "test":
            return TensorSplit(bits, levels)
        nodes = torch.arange(self.samples) % self.nodes
        samples = bits[nodes]
        generator = torch.Generator().manual_seed(0)
        for row in samples:  # one by one: the noise of all takes four times the memory of the bits
            row ^= torch.rand(self.nodes, generator=generator) < self.noise
        return TensorSplit(samples, levels[nodes])

    @deprecated("source.tree.distance", gone_in="0.3")
    def tree_distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance in edges between nodes, see ``Tree.distance``."""
        return self.tree.distance(a, b)

    def noisy_nodes(self, draw: int) -> TensorSplit:
        """The test split, each bit flipped with the paper's probability of 0.1."""
        bits = tree_bits(self.tree)
        generator = torch.Generator().manual_seed(draw + 1)
        flipped = torch.rand(bits.shape, generator=generator) < PAPER_NOISE
        return TensorSplit(bits ^ flipped, self.tree.levels)


def tree_bits(tree: Tree) -> Tensor:
    """Bool (n, n): bit j of node i is set if j is i or an ancestor of i.

    The Hamming distance of two rows is the distance of their nodes in the tree.
    """
    return tree.ancestors | torch.eye(len(tree), dtype=torch.bool)
