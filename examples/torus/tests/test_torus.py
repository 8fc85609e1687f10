"""The torus keeps every rule of a manifold, and its distances wrap."""

import math

import pytest
import torch
from vqcore import VectorQuantizer
from vqcore.testing import ManifoldConformance, PluginConformance

from vq_torus.torus import Torus


class TestTorus(ManifoldConformance):
    def make(self):
        return Torus(period=4.0)


class TestPlugin(PluginConformance):
    package = "vq-torus"


def test_the_shorter_way_around_counts():
    x, y = torch.tensor([[1.9, 0.0]]), torch.tensor([[-1.9, 0.5]])
    assert Torus(period=4.0).dist(x, y).item() == pytest.approx(math.hypot(0.2, 0.5))


def test_a_cloud_across_the_cut_has_its_centroid_there():
    torus = Torus(period=4.0)
    cloud = torch.tensor([[1.8], [-1.8]])
    assert torus.from_ambient(torus.to_ambient(cloud).mean(0)).abs().item() == pytest.approx(2.0)


@pytest.mark.parametrize("quantizer", ["codebook", "ema"])
def test_codes_learn_a_cloud_across_the_cut(quantizer):
    torch.manual_seed(0)
    layer = VectorQuantizer(dim=2, codebook_size=8, manifold=Torus(), quantizer=quantizer)
    codes, optimizer = (
        layer.quantizer,
        torch.optim.Adam([*layer.parameters(), torch.nn.Parameter()]),
    )
    for _ in range(50):
        cloud = layer.manifold.wrap(math.pi + 0.3 * torch.randn(256, 2))
        optimizer.zero_grad()
        sum(codes(cloud.requires_grad_()).losses.values()).backward()
        optimizer.step()
        codes.update(optimizer)
    assert layer.manifold.pairwise_dist(cloud, codes.codebook).amin(1).mean() < 0.2
