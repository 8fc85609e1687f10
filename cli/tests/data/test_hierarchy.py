"""The part-of tree: the nodes that an image shows, their distances, and their appearance."""

from itertools import pairwise

import pytest
import torch

from vq.data.hierarchy import Hierarchy, draw_nodes, node_colours
from vq.data.tree import Tree
from vq.data.trees import Trees, tree_bits


def test_trees_distances_are_those_of_their_bits():
    tree, nodes = Trees(depth=5).tree, torch.arange(31)
    bits = tree_bits(tree)
    assert torch.equal(tree.distance(nodes.unsqueeze(1), nodes), (bits.unsqueeze(1) ^ bits).sum(-1))


def test_the_classes_of_trees_are_levels():
    source = Trees(depth=3, samples=9)
    assert source.split("test").labels.tolist() == [0, 1, 1, 2, 2, 2, 2]
    assert source.split("train").labels.tolist() == [0, 1, 1, 2, 2, 2, 2, 0, 1]
    assert source.describe()["classes"] == ["level 0", "level 1", "level 2"]


def test_every_part_belongs_to_its_object():
    nodes = draw_nodes(1, 50, 4, 3)
    assert [level.shape for level in nodes] == [(50, 2**n, 2**n) for n in range(4)]
    for above, below in pairwise(nodes):
        assert torch.equal((below - 1) // 3, above.repeat_interleave(2, 1).repeat_interleave(2, 2))
    for level, shown in enumerate(nodes, 1):
        assert (Tree.full(3, 4).levels[shown] == level).all()
    assert len(nodes[-1].unique()) == 81  # every kind occurs


@pytest.mark.parametrize(
    ("options", "side"), [({}, 32), ({"depth": 2, "branching": 6, "cell": 5}, 10)]
)
def test_images_labels_and_nodes_fit_together(served, options, side):
    source = Hierarchy(samples=40, **options)
    train, test = source.split("train"), source.split("test")
    assert (len(train), len(test)) == (40, 10)
    assert served(train).shape == (40, *source.shape) == (40, 3, side, side)
    assert torch.equal(train.labels, train.nodes[0].flatten() - 1)
    assert set(train.labels.tolist()) <= set(range(source.branching))
    assert len(source.classes) == source.branching
    assert train.data.dtype == torch.uint8


def test_images_are_reproducible_and_differ_between_splits():
    first, again = (Hierarchy(samples=600).split("train") for _ in range(2))
    assert torch.equal(first.data, again.data)
    assert all(torch.equal(a, b) for a, b in zip(first.nodes, again.nodes, strict=True))
    assert not torch.equal(first.data[:150], Hierarchy(samples=600).split("test").data)
    assert not torch.equal(first.nodes[-1][:100], first.nodes[-1][512:612].clone())


def test_the_colours_of_nodes_differ():
    colours = node_colours(3, 4)
    assert colours.shape == (85, 3)
    assert colours.min() >= 0
    assert colours.max() <= 1
    assert len(colours.unique(dim=0)) == 85


def test_cells_tell_their_node_and_near_nodes_look_alike():
    """The nearest mean cell tells the node of a new cell; means are as far apart as nodes."""
    source = Hierarchy()
    cells = {}
    for name in ("train", "test"):
        split = source.split(name)
        pixels = (
            split.data.unfold(2, 8, 8)
            .unfold(3, 8, 8)
            .permute(0, 2, 3, 1, 4, 5)
            .flatten(3)
            .float()
            .flatten(0, 2)
        )
        cells[name] = pixels, split.nodes[-1].flatten()
    pixels, nodes = cells["train"]
    leaves = nodes.unique()
    means = torch.stack([pixels[nodes == leaf].mean(0) for leaf in leaves])
    pixels, nodes = cells["test"]
    assert (leaves[torch.cdist(pixels, means).argmin(1)] == nodes).float().mean() > 0.8
    distance, edges = torch.cdist(means, means), source.tree.distance(leaves.unsqueeze(1), leaves)
    by_edges = [distance[edges == number].mean() for number in (2, 4, 6)]
    assert by_edges == sorted(by_edges)
    assert by_edges[2] > 1.5 * by_edges[0]
