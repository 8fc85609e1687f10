"""A learned curvature: bounded, with a gradient everywhere, at its own rate, on every manifold."""

import math

import pytest
import torch

from vqcore import VectorQuantizer
from vqcore.numerics.curvature import Curvature
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
CURVED = [
    name for name in REGISTRY.names("manifold")
    if any(option["name"] == "learn_curvature" for option in REGISTRY.options("manifold", name))
]  # fmt: skip


def space(name, **options):
    return REGISTRY.build(
        REGISTRY.resolve("manifold", {"name": name, "learn_curvature": True, **options})
    )


def test_a_curvature_starts_at_its_value_and_stays_in_its_span():
    curve = Curvature(2.0, learned=True, rate=0.1, span=3.0)
    assert curve().item() == pytest.approx(2.0)
    for theta, limit in ((1e4, 6.0), (-1e4, 2 / 3)):
        curve.theta.data.fill_(theta)
        assert curve().item() == pytest.approx(limit)
    assert curve.largest == pytest.approx(6.0)
    assert Curvature(2.0)() == 2.0
    assert list(Curvature(2.0).parameters()) == []


def test_the_logarithm_of_a_curvature_learns_at_its_own_rate():
    for rate in (0.1, 1.0):
        curve = Curvature(1.0, learned=True, rate=rate)
        optimizer = torch.optim.Adam(curve.parameters(), lr=1e-3)
        curve().log().backward()
        optimizer.step()
        assert math.log(curve().item()) == pytest.approx(-rate * 1e-3, rel=1e-3)


@pytest.mark.parametrize("name", CURVED)
def test_distances_pass_a_finite_difference_check_in_the_curvature(name):
    manifold = space(name, curvature=0.7).double()
    u = 0.4 * torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theta = manifold.curve.theta

    def distances(value):
        return torch.func.functional_call(Distance(manifold), {"manifold.curve.theta": value}, (u,))

    assert torch.autograd.gradcheck(distances, (theta.detach().clone().requires_grad_(),))


class Distance(torch.nn.Module):
    def __init__(self, manifold):
        super().__init__()
        self.manifold = manifold

    def forward(self, u):
        return self.manifold.squared_dist(*self.manifold.expmap0(u))


@pytest.mark.parametrize("quantizer", ["codebook", "ema"])
@pytest.mark.parametrize("name", CURVED)
def test_training_changes_a_curvature_and_codes_stay_valid(name, quantizer):
    torch.manual_seed(0)
    layer = VectorQuantizer(
        dim=4,
        codebook_size=8,
        quantizer=quantizer,
        manifold={"name": name, "learn_curvature": True},
    )
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
    before = layer.manifold.curve().item()
    for _ in range(30):
        out = layer(torch.randn(64, 4))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        layer.update(optimizer)
        assert torch.isfinite(out.loss)
    assert layer.manifold.curve().item() != before
    assert layer.manifold.check_points(layer.codebook.detach()) is None
    z = torch.randn(20, 4)
    layer.eval()
    assert torch.equal(layer.decode(layer.encode(z)), layer(z).quantized)
