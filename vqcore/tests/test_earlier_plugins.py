"""Plugins for VQ_API = 1 as first documented work as they did: no rule added since breaks them."""

import math
import sys

import pytest
import torch
from torch import nn

from vqcore import CodebookQuantizer, VectorQuantizer
from vqcore.plugin.registry import Registry

OPTIONS = """
from vqcore import CodebookConfig, ComponentSpec, hookimpl

VQ_API = 1

class Config(CodebookConfig):
    cap: float = float("inf")

@hookimpl
def vq_quantizers():
    made = ComponentSpec(
        name="capped", target="earlier:Capped", config="earlier:Config", summary="a test's"
    )
    return [made]
"""


class Averages(CodebookQuantizer):
    """Means of the latents since the last update, in a parameter that has no gradient."""

    statistics = ("usage",)

    def __init__(self, **options):
        super().__init__(**options)
        self.table = nn.Parameter(self._starting_points(), requires_grad=False)

    def codes(self):
        return self.table, self.table

    def set_points(self, rows, points, optimizer=None):
        self.table.data = torch.where(rows.unsqueeze(1), points, self.table.data)

    def gather(self, x, indices):
        self.sums = torch.zeros_like(self.table).index_add_(0, indices, x)

    def learn(self, counts):
        means = self.sums / counts.clamp(min=1).unsqueeze(1)
        self.table.data = torch.where((counts > 0).unsqueeze(1), means, self.table.data)


class Projected(CodebookQuantizer):
    """Fixed codes in a parameter, behind a learned matrix."""

    def __init__(self, **options):
        super().__init__(**options)
        self.table = nn.Parameter(self._starting_points(), requires_grad=False)
        self.matrix = nn.Parameter(torch.eye(self.dim))

    def codes(self):
        codes = self.table @ self.matrix
        return codes, codes

    def set_points(self, rows, points, optimizer=None):
        fixed = torch.linalg.solve(self.matrix.detach(), points, left=False)
        self.table.data = torch.where(rows.unsqueeze(1), fixed, self.table.data)


@pytest.mark.parametrize("kind", [Averages, Projected])
def test_a_table_in_a_parameter_without_gradient_starts_learns_and_freezes(kind):
    torch.manual_seed(0)
    euclidean = VectorQuantizer(dim=4, codebook_size=8).manifold
    made = kind(dim=4, codebook_size=8, manifold=euclidean)
    layer = VectorQuantizer(dim=4, codebook_size=8, manifold=euclidean, quantizer=made)
    far = [50 + torch.randn(64, 4, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    loss = layer(far[0].requires_grad_()).loss
    loss.backward()
    layer.update()
    assert made.started
    assert layer(far[1]).metrics["quantization_error"] < 10  # codes at the origin: 2500
    assert kind is Averages or made.matrix.grad.norm() > 0
    layer.update()
    layer.freeze_codes()
    before = layer.codebook.clone()
    assert not layer(far[2]).losses["codebook"].requires_grad
    layer.update()
    assert torch.equal(layer.codebook, before)
    twin = kind(dim=4, codebook_size=8, manifold=euclidean)
    twin.load_state_dict(made.state_dict())
    assert torch.equal(twin.half().codebook, made.codebook.half())
    assert twin.unused_steps.dtype == torch.float32


def test_an_option_without_bounds_is_read_back(tmp_path):
    path = tmp_path / "earlier.py"
    path.write_text(OPTIONS)
    registry = Registry(files=[path])
    try:
        chosen = registry.resolve("quantizer", "capped")
        assert chosen.options.cap == math.inf
        assert registry.resolve("quantizer", chosen.dump()).dump() == chosen.dump()
    finally:
        sys.modules.pop("earlier", None)
