"""The links of a tree as one matrix, for embeddings of its nodes."""

from __future__ import annotations

from typing import Literal

import torch

from vq.data.tree import Tree
from vq.data.trees import tree_bits
from vq.optional_dependencies import require
from vqcore.data.tensor_split import TensorSplit
from vqcore.interfaces.dataset import DataSource
from vqcore.numerics.counter_rng import uniform

#: Levels of a random tree, at most.
LEVELS = 10
#: Diseases of the respiratory system, J00 to J99, in ICD-10-CM.
CHAPTER = "10"


class TreeLinks(DataSource):
    """One sample, for training and for the test: bit [u, v] is set if v is u or above it.

    Backbone ``distance`` embeds the n nodes, loss ``links`` compares; ``vq evaluate`` scores the
    embedding by the tree. For the options see ``TreeLinksConfig``.
    """

    value_range = (0.0, 1.0)
    likelihood = "bernoulli"
    disjoint = False

    def __init__(
        self, *, tree: str = "full", depth: int = 8, branching: int = 2, nodes: int = 400
    ) -> None:
        if tree == "full":
            self.tree = Tree.full(branching, depth - 1)
        else:
            self.tree = diagnoses() if tree == "icd10" else random_tree(nodes)
        self.shape = (len(self.tree), len(self.tree))

    def split(self, name: Literal["train", "test"]) -> TensorSplit:
        """Bool (1, n, n), served as 0 and 1."""
        return TensorSplit(tree_bits(self.tree).unsqueeze(0))


def random_tree(nodes: int) -> Tree:
    """A tree in which nodes with children get more of them, as in taxonomies; always the same.

    Each node in turn chooses its parent among those before it, above the last of ``LEVELS``, with
    chances of 1 more than the children that they have (plane-oriented recursive tree).
    """
    draws = uniform(0, nodes).tolist()
    parents, level, chance = [-1], [0], torch.zeros(nodes, dtype=torch.float64)
    chance[0] = 1
    for node in range(1, nodes):
        total = chance.cumsum(0)
        parent = int(torch.searchsorted(total, draws[node] * total[-1], right=True))
        parents.append(parent)
        level.append(level[parent] + 1)
        chance[parent] += 1
        chance[node] = 1.0 if level[node] < LEVELS - 1 else 0.0
    return Tree(parents)


def diagnoses() -> Tree:
    """Respiratory diseases in ICD-10-CM: blocks, categories and subcategories, breadth first.

    Raises:
        UsageError: if the package that ships the classification is not installed.
    """
    require("trees", "tree-links with tree = icd10", "simple_icd_10_cm")
    import simple_icd_10_cm as classification

    names, parents = [CHAPTER], [-1]
    for number, name in enumerate(names):  # which grows
        children = classification.get_children(name)
        names += children
        parents += [number] * len(children)
    return Tree(parents)
