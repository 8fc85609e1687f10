"""A table that chooses codes by a search of its own: a tree, which compares two codes a level."""

import pytest
import torch
from torch import nn

from vqcore import CodebookQuantizer, VectorQuantizer
from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.plugin.registry import default_registry
from vqcore.testing import QuantizerConformance


class Tree(CodebookQuantizer):
    """Codes as the leaves of a binary tree, in which a latent goes to the nearer centroid.

    A node's centroid is that of the codes below it. The search costs 2 log2 K distances instead of
    K, and does not always find the nearest code.
    """

    code_tensors = ("weight",)

    def __init__(self, **options):
        super().__init__(**options)
        self.weight = nn.Parameter(self.manifold.logmap0(self._starting_points()).detach())

    def stored(self):
        return self.weight

    @torch.no_grad()
    def set_points(self, rows, points, optimizer=None):
        fresh = self.manifold.logmap0(points).to(self.weight.dtype)
        self.weight.data.copy_(torch.where(rows.unsqueeze(1), fresh, self.weight))

    @torch.no_grad()
    def choose_codes(self, x, points):
        spare = points[-1:].expand(2 ** (len(points) - 1).bit_length() - len(points), -1)
        nodes = [self.manifold.to_ambient(torch.cat([points, spare]))]
        while len(nodes[-1]) > 1:
            nodes.append(nodes[-1].unflatten(0, (-1, 2)).mean(1))
        place = torch.zeros_like(x[:, 0], dtype=torch.int64)
        for level in reversed(nodes[:-1]):
            centroids = self.manifold.from_ambient(level).to(x.dtype)
            pair = torch.stack([2 * place, 2 * place + 1])
            left, right = self.manifold.squared_dist(x, centroids[pair])
            place = pair[0] + (right < left)
        return place.clamp(max=len(points) - 1)


class TestTree(QuantizerConformance):
    def make(self, **injected):
        return Tree(**injected)

    def manifolds(self):
        registry = default_registry()
        return [registry.build(registry.resolve("manifold", "product"))]


def latents(seed=0, n=200):
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("wrapper", ["grouped", "residual"])
@pytest.mark.parametrize("shared", [False, True])
def test_groups_and_stages_choose_by_the_search_of_each_table(wrapper, shared):
    torch.manual_seed(0)
    kind = type(VectorQuantizer(dim=8, codebook_size=16, quantizer=wrapper).quantizer)
    made = kind(inner=Tree, dim=8, codebook_size=16, manifold=Euclidean(), shared=shared)
    for seed in range(3):
        made(latents(seed))
        made.update()
    z = latents(7)
    out = made.eval()(z)
    first, space = made.first, made.manifold
    part = z.view(200, 2, 4)[:, 0] if wrapper == "grouped" else z
    expected = first.choose_codes(space.expmap0(part), first.codebook)
    assert torch.equal(out.indices[:, 0], expected)
    assert torch.equal(made.encode(z), out.indices)
    assert (expected != space.nearest(space.expmap0(part), first.codebook)).any()
