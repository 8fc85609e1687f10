"""The links of trees as one matrix."""

import pytest
import torch

from vq.data import tree_links
from vq.data.tree_links import LEVELS, TreeLinks
from vqcore.errors import UsageError


@pytest.mark.parametrize(
    ("options", "levels"),
    [
        ({}, [1, 2, 4, 8, 16, 32, 64, 128]),
        ({"branching": 3, "depth": 4}, [1, 3, 9, 27]),
        ({"tree": "icd10"}, None),
        ({"tree": "random", "nodes": 90}, None),
    ],
)
def test_the_matrix_is_that_of_the_tree(options, levels):
    if options.get("tree") == "icd10":
        pytest.importorskip("simple_icd_10_cm")
    source = TreeLinks(**options)
    tree, data = source.tree, source.split("train").data
    assert (data.shape, data.dtype) == ((1, *source.shape), torch.bool)
    assert source.shape == (len(tree), len(tree))
    assert torch.equal(data[0], tree.ancestors | torch.eye(len(tree), dtype=torch.bool))
    assert levels is None or tree.levels.bincount().tolist() == levels


def test_random_trees_are_skewed_and_always_the_same():
    tree = TreeLinks(tree="random").tree
    assert torch.equal(tree.parents, TreeLinks(tree="random").tree.parents)
    assert len(tree) == 400
    assert int(tree.levels.max()) <= LEVELS - 1
    children = tree.parents[1:].bincount()
    assert children.max() > 8 * children[children > 0].double().mean()


def test_diagnoses_need_the_package_that_ships_them(monkeypatch):
    monkeypatch.setattr("vq.optional_dependencies.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"simple_icd_10_cm: pip install 'vq-cli\[trees\]'"):
        tree_links.diagnoses()
