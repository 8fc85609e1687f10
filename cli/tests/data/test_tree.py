"""Rooted trees: levels, ancestors and distances, against walks along the parents."""

import pytest
import torch

from vq.data.tree import Tree

#: A path, a star, and a tree whose deeper nodes have lower numbers.
TREES = {
    "root": [-1],
    "path": [-1, 0, 1, 2, 3],
    "star": [-1, 0, 0, 0],
    "uneven": [-1, 0, 1, 2, 0, 4, 3, 0, 5, 3],
}
FULL = {f"full-{branching}": Tree.full(branching, 3).parents for branching in (1, 2, 3)}


def path_to_root(node, parents):
    path = [node]
    while path[-1]:
        path.append(int(parents[path[-1]]))
    return path


@pytest.mark.parametrize("parents", (TREES | FULL).values(), ids=TREES | FULL)
def test_levels_ancestors_and_distances(parents):
    tree, count = Tree(parents), len(parents)
    nodes = torch.arange(count)
    distance = tree.distance(nodes.unsqueeze(1), nodes)
    paths = [path_to_root(node, parents) for node in range(count)]
    assert len(tree) == count
    assert tree.levels.tolist() == [len(path) - 1 for path in paths]
    for i in range(count):
        assert tree.ancestors[i].nonzero().flatten().tolist() == sorted(paths[i][1:])
        for j in range(count):
            assert distance[i, j] == len(set(paths[i]) ^ set(paths[j]))


def test_full_trees_are_in_heap_order():
    tree = Tree.full(2, 2)
    assert tree.parents.tolist() == [-1, 0, 0, 1, 1, 2, 2]
    assert len(Tree.full(4, 3)) == 85


@pytest.mark.parametrize("parents", [[], [0], [-1, -1], [-1, 1], [-1, 0, 3, 0], [[-1, 0]]])
def test_what_is_no_tree_is_refused(parents):
    with pytest.raises(ValueError, match="expected"):
        Tree(parents)
