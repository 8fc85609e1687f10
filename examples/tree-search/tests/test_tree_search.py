"""The tree keeps every rule of a quantizer, and finds near codes."""

import pytest
import torch
from vqcore import VectorQuantizer, default_registry
from vqcore.testing import PluginConformance, QuantizerConformance

from vq_tree_search.quantizer import TreeCodebook
from vq_tree_search.tree import arranged, search


def manifold(name):
    registry = default_registry()
    return registry.build(registry.resolve("manifold", name))


class TestTree(QuantizerConformance):
    def make(self, **injected):
        return TreeCodebook(beam=2, **injected)

    def manifolds(self):
        return [manifold("euclidean"), manifold("sphere")]


class TestPlugin(PluginConformance):
    package = "vq-tree-search"


def test_every_code_is_a_leaf_and_neighbours_are_near():
    codes = torch.arange(6.0).mul(5).remainder(6).unsqueeze(1)  # 0, 5, 4, 3, 2, 1
    leaves = arranged(codes, 3)
    assert leaves.unique().tolist() == [0, 1, 2, 3, 4, 5]
    assert (codes[leaves].diff(dim=0) >= 0).all()


@pytest.mark.parametrize("name", ["euclidean", "sphere"])
@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_a_wide_beam_finds_the_nearest_code(name, size):
    space = manifold(name)
    x, codes = (space.expmap0(space.tangent(torch.randn(n, 4))) for n in (100, size))
    found = search(x, codes, space, beam=size)
    assert torch.equal(found, space.nearest(x, codes))
    near = space.squared_dist(x, codes[search(x, codes, space, beam=1)])
    assert near.mean() < 2 * space.squared_dist(x, codes[found]).mean() + 1e-6


def test_groups_and_stages_have_a_tree_each():
    quantizer = {"name": "grouped", "groups": 2, "inner": "tree"}
    layer = VectorQuantizer(dim=8, codebook_size=32, quantizer=quantizer)
    out = layer(torch.randn(64, 8))
    assert torch.equal(layer.quantizer.decode(out.indices), out.quantized)
