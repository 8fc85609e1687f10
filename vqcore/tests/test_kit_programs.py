"""A product of spaces and a tree of codes as a third party writes them, and what tracing finds."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vqcore import Manifold
from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.builtin.manifolds.sphere import Sphere
from vqcore.interfaces.quantizer import CodeAssignment, Quantized, Quantizer
from vqcore.numerics.stable import masked_mean, safe_sqrt
from vqcore.testing import ConformanceError, ManifoldConformance, QuantizerConformance

CHECKS = ["test_any_batch_can_be_exported", "test_compiling_changes_nothing"]


class Product(Manifold):
    """A plane times a sphere, which takes the other dimensions."""

    def __init__(self):
        super().__init__()
        self.factors = nn.ModuleList([Euclidean(), Sphere()])

    def _each(self, name, *tensors):
        flat, curved = ([x[..., :2] for x in tensors], [x[..., 2:] for x in tensors])
        plane, sphere = self.factors
        return [getattr(plane, name)(*flat), getattr(sphere, name)(*curved)]

    def point_dim(self, dim):
        return 2 + self.factors[1].point_dim(dim - 2)

    def tangent(self, z):
        return torch.cat(self._each("tangent", z), -1)

    def expmap0(self, u):
        return torch.cat(self._each("expmap0", u), -1)

    def logmap0(self, x):
        return torch.cat(self._each("logmap0", x), -1)

    def project(self, x):
        return torch.cat(self._each("project", x), -1)

    def squared_dist(self, x, y):
        x, y = torch.broadcast_tensors(x, y)
        return sum(self._each("squared_dist", x, y))

    def dist(self, x, y):
        return safe_sqrt(self.squared_dist(x, y))

    def check_points(self, x):
        return next((why for why in self._each("check_points", x) if why), None)

    @torch.no_grad()
    def nearest(self, x, codes):
        return self.pairwise_squared_dist(x, codes).argmin(1)


class Tree(Quantizer):
    """Codes are the leaves of a binary tree, found by walking to the nearer child."""

    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.depth = (self.codebook_size - 1).bit_length()
        self.codebook_size = 2**self.depth
        self.nodes = nn.Parameter(torch.randn(2 * self.codebook_size - 1, self.dim))

    @torch.no_grad()
    def encode(self, z):
        node = torch.zeros_like(z[..., 0], dtype=torch.int64)
        for _ in range(self.depth):
            node = self._child(node, z)
        return node - (self.codebook_size - 1)

    def _child(self, node, z):
        children = torch.stack([2 * node + 1, 2 * node + 2], -1)
        apart = (self.nodes[children] - z.unsqueeze(-2)).square().sum(-1)
        return 2 * node + 1 + (apart[..., 1] < apart[..., 0])

    def lookup(self, indices):
        codes = F.embedding(indices.clamp(min=0), self.nodes[self.codebook_size - 1 :])
        return codes * (indices >= 0).unsqueeze(-1)

    def forward(self, z, mask=None):
        mask = torch.ones_like(z[..., 0], dtype=torch.bool) if mask is None else mask
        indices = torch.where(mask, self.encode(z), -1)
        z_q = self.lookup(indices)
        flat, kept = indices.flatten(), mask.flatten()
        counts = F.one_hot(flat + 1, self.codebook_size + 1).sum(0)[1:]
        losses = {"codebook": masked_mean((z.detach() - z_q).square().mean(-1), mask)}
        used = CodeAssignment(
            z.flatten(0, -2), z_q.flatten(0, -2), flat, kept, self.codebook, counts
        )
        return Quantized(z_q, indices, losses, (used,))

    @property
    def codebook(self):
        return self.manifold.expmap0(self.nodes[self.codebook_size - 1 :])


class Tiled(Product):
    """Searches a few rows at a time, which saves memory and fixes the tiles of a trace."""

    def nearest(self, x, codes):
        return torch.cat([Product.nearest(self, tile, codes) for tile in x.split(4)])


class Asking(Tree):
    """Walks until every token is at a leaf, which asks the device at each level."""

    @torch.no_grad()
    def encode(self, z):
        node = torch.zeros_like(z[..., 0], dtype=torch.int64)
        while int(node.amin()) < self.codebook_size - 1:
            node = self._child(node, z)
        return node - (self.codebook_size - 1)


class ProductCase(ManifoldConformance):
    def __init__(self, cls):
        self.make = cls


class TreeCase(QuantizerConformance):
    def __init__(self, cls):
        self.make = cls


@pytest.mark.parametrize("case", [ProductCase(Product), TreeCase(Tree)])
@pytest.mark.parametrize("check", CHECKS)
def test_a_product_and_a_tree_can_be_traced(case, check):
    getattr(case, check)()


@pytest.mark.parametrize("case", [ProductCase(Tiled), TreeCase(Asking)])
def test_what_cannot_be_exported_is_found(case):
    with pytest.raises(ConformanceError, match="any-batch-can-be-exported"):
        case.test_any_batch_can_be_exported()


def test_a_graph_break_is_found():
    with pytest.raises(ConformanceError, match="compiling-changes-nothing"):
        TreeCase(Asking).test_compiling_changes_nothing()
