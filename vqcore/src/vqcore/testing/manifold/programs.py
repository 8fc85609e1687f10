"""What must hold for every manifold when torch traces it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqcore.interfaces.manifold import Manifold
from vqcore.testing.manifold.bench import ManifoldBench
from vqcore.testing.programs import alike, compiled, exported_alike
from vqcore.testing.rules import rule
from vqcore.testing.samples import gradients, normal

#: Codes of the search.
CODES = 8


class ProgramRules(ManifoldBench):
    """Part of ``ManifoldConformance``."""

    @rule
    def test_any_batch_can_be_exported(self) -> None:
        """``torch.export`` of maps, distances and search with a dynamic batch is as eager."""
        exported_alike(_Used(self.make(), self.dim).eval(), [normal(5, 3, self.dim)])

    @rule
    def test_compiling_changes_nothing(self) -> None:
        """Compiled without a graph break, values and gradients are those of eager."""
        module, z = _Used(self.make(), self.dim), normal(5, 3, self.dim).requires_grad_()
        inputs = [z, *(each for each in module.manifold.parameters() if each.requires_grad)]
        expected = module(z)
        with compiled(module) as function:
            found = function(z)
            alike(found, expected, "the compiled manifold")
            ours, theirs = (gradients(_total(each), inputs) for each in (found, expected))
            alike(ours, theirs, "a gradient of the compiled manifold", 1e-4, 1e-5)


class _Used(nn.Module):
    """What a model does with a manifold, as a module."""

    codes: Tensor

    def __init__(self, manifold: Manifold, dim: int) -> None:
        super().__init__()
        self.manifold = manifold
        codes = manifold.expmap0(manifold.tangent(normal(CODES, dim, seed=1))).detach()
        self.register_buffer("codes", codes)

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        """(B, T, D) to indices, tangent vectors of the points, and distances from a code."""
        space = self.manifold
        points = space.expmap0(space.tangent(z))
        indices = space.nearest(points.flatten(0, -2), self.codes)
        code = self.codes[0]
        lengths = space.dist(points, code), space.squared_dist(points, code)
        return indices, space.logmap0(points), *lengths


def _total(values: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([each.square().sum() for each in values[1:]]).sum()
